package server_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/frametest"
	"github.com/ikornaselur/notiflux/internal/internaltest/rawclient"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/server"
	"github.com/ikornaselur/notiflux/internal/wsframe"
)

// A starter is servertest.Start on one kind of loop.
type starter func(change func(*config.Serve)) *servertest.Server

// onBothLoops runs a test on each kind of loop.
func onBothLoops(t *testing.T, test func(t *testing.T, start starter)) {
	for _, loops := range []string{"auto", "portable"} {
		t.Run("loops="+loops, func(t *testing.T) {
			test(t, func(change func(*config.Serve)) *servertest.Server {
				return servertest.Start(t, func(c *config.Serve) {
					c.Loops = loops
					if change != nil {
						change(c)
					}
				})
			})
		})
	}
}

func TestEverySubscriberGetsTheMessage(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
		s := start(nil)
		a, b, other := s.Subscribe("news"), s.Subscribe("news", "sport"), s.Subscribe("weather")
		begin := s.Head("news")
		position, err := pubsub.ParsePosition(s.Broadcast("news", "hello"))
		if err != nil || position.Epoch != begin.Epoch || position.Offset <= begin.Offset {
			t.Errorf("position %v, %v; want one after %v", position, err, begin)
		}
		a.Expect("hello")
		b.Expect("hello")
		s.Broadcast("sport", map[string]any{"goal": 1, "by": []string{"a"}})
		s.Broadcast("weather", "")
		b.Expect(`{"by":["a"],"goal":1}`)
		other.Expect("")
		a.Sync() // nothing else arrived
	})
}

func TestTranscript(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
		s := start(nil)
		c := s.Connect()
		token := s.Token(auth.Subscribe, "t", "a topic")
		for _, step := range []struct {
			say   string
			hears []string
		}{
			{"/subscribe", []string{"Invalid subscribe command, it should be: /subscribe <topic> <token>"}},
			{"/subscribe t", []string{"Invalid subscribe command, it should be: /subscribe <topic> <token>"}},
			{"/subscribe t " + token + " more", []string{"Invalid subscribe command, it should be: /subscribe <topic> <token>"}},
			{"/dance", []string{"Unknown command"}},
			{"/unsubscribe", []string{"Unknown command"}},
			{"/unsubscribe-all t", []string{"Unknown command"}},
			{"chatter", nil},
			{"/subscribe t " + s.Token(auth.Broadcast, "t"), []string{"Subscribe to t denied: the token does not have the scope subscribe"}},
			{"/subscribe u " + token, []string{"Subscribe to u denied: the token does not allow this topic: its claim `topic` or `topics` must contain exactly this name"}},
			{"  /subscribe t " + token + "\n", nil},
			{"/subscribe t " + token, nil},
			{"BROADCAST t one", []string{"one"}},
			{"/unsubscribe u", nil},
			{"BROADCAST t two", []string{"two"}},
			{"/unsubscribe t", nil},
			{"BROADCAST t three", nil},
			{"/subscribe t " + token, nil},
			{"BROADCAST t four", []string{"four"}},
			{"/unsubscribe-all", nil},
			{"BROADCAST t five", nil},
		} {
			if broadcast, ok := strings.CutPrefix(step.say, "BROADCAST "); ok {
				topic, message, _ := strings.Cut(broadcast, " ")
				c.Sync()
				s.Broadcast(pubsub.Topic(topic), message)
			} else {
				c.Say(step.say)
			}
			for _, want := range step.hears {
				if got := c.Next(); got != want {
					t.Errorf("%.40q: got %q, want %q", step.say, got, want)
				}
			}
		}
		c.Sync()
	})
}

func TestFragmentsBinaryAndPing(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
		s := start(nil)
		conn := dialWebSocket(t, s)
		token := s.Token(auth.Subscribe, "t")
		line := "/subscribe t " + token
		for _, frame := range [][]byte{
			frametest.Binary("/subscribe"),
			frametest.Frame(0x01, line[:5]),
			frametest.Ping("are you there"),
			frametest.Frame(0x00, line[5:20]),
			frametest.Frame(0x80, line[20:]),
			frametest.Text("/"),
		} {
			if _, err := conn.Write(frame); err != nil {
				t.Fatal(err)
			}
		}
		for _, want := range []string{"pong are you there", "text Unknown command"} {
			f, err := frametest.ReadFrame(conn)
			if err != nil {
				t.Fatal(err)
			}
			got := map[wsframe.Opcode]string{wsframe.Pong: "pong ", wsframe.Text: "text "}[f.Opcode()] + string(f.Payload)
			if got != want {
				t.Fatalf("got %q, want %q", got, want)
			}
		}
		s.Broadcast("t", "subscribed in pieces")
		if data, err := frametest.ReadText(conn); err != nil || data != "subscribed in pieces" {
			t.Errorf("got %q, %v", data, err)
		}
	})
}

// dialRaw opens a raw connection, which is closed when the test ends.
func dialRaw(t *testing.T, url string) *rawclient.Conn {
	t.Helper()
	c, err := rawclient.Dial(url, 0, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// dialWebSocket opens a WebSocket by hand, so that the test controls every byte.
func dialWebSocket(t *testing.T, s *servertest.Server) *rawclient.Conn {
	t.Helper()
	c := dialRaw(t, s.URL)
	if err := c.Upgrade(""); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestExpiryHoldsAtTheCommandOnly(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
		s := start(nil)
		c := s.Connect()
		// Within the leeway of a minute, so it is valid for two more seconds.
		token := s.TokenUntil(time.Now().Add(2*time.Second-auth.Leeway), auth.Subscribe, "t")
		c.Say("/subscribe t " + token)
		c.Sync()
		refused := s.TokenUntil(time.Now().Add(-auth.Leeway-time.Second), auth.Subscribe, "t")
		c.Say("/subscribe u " + refused)
		if got := c.Next(); !strings.HasPrefix(got, "Subscribe to u denied: the token expired") {
			t.Errorf("an expired token: %q", got)
		}
		for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline); {
			s.Broadcast("t", "still here")
			c.Expect("still here")
		}
		c.Say("/subscribe t2 " + token)
		if got := c.Next(); !strings.HasPrefix(got, "Subscribe to t2 denied: the token expired") {
			t.Errorf("the expired token of an active subscription: %q", got)
		}
	})
}

func TestRoutes(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
		s := start(nil)
		for _, test := range []struct {
			method, path string
			status       int
		}{
			{"GET", "/health", 200}, {"HEAD", "/health", 200}, {"GET", "/livez", 200}, {"GET", "/readyz", 200},
			{"GET", "/", 404}, {"GET", "/nothing", 404}, {"GET", "/metrics", 404}, {"GET", "/debug/pprof/", 404},
			{"GET", "/broadcast", 405}, {"POST", "/health", 405}, {"POST", "/ws", 405}, {"HEAD", "/ws", 405},
			{"GET", "/ws", 426}, {"POST", "/broadcast", 400},
		} {
			r, err := http.NewRequest(test.method, s.URL+test.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			a, err := s.HTTP.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			a.Body.Close()
			if a.StatusCode != test.status {
				t.Errorf("%s %s = %d, want %d", test.method, test.path, a.StatusCode, test.status)
			}
			if test.status >= 400 && a.Header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("%s %s: error as %q", test.method, test.path, a.Header.Get("Content-Type"))
			}
			if (test.status == 405) != (a.Header.Get("Allow") != "") {
				t.Errorf("%s %s: Allow: %q", test.method, test.path, a.Header.Get("Allow"))
			}
		}
	})
}

func TestAdminListener(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
		s := start(nil)
		c := s.Subscribe("t")
		s.Broadcast("t", "counted")
		c.Expect("counted")
		// The server counts a delivery after the write.
		for deadline := time.Now().Add(10 * time.Second); metric(t, s, "notiflux_deliveries_total") != "1" && time.Now().Before(deadline); {
			runtime.Gosched()
		}
		r, err := s.HTTP.Get(s.AdminURL + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		body, _ := io.ReadAll(r.Body)
		if !servertest.Remote() && strings.Contains(string(body), "notiflux_broker_call") {
			t.Error("a server that stands alone has metrics of a shared broker")
		}
		for _, want := range []string{"notiflux_connections 1", "notiflux_subscriptions 1", "notiflux_messages_total 1", "notiflux_deliveries_total 1"} {
			if !strings.Contains(string(body), "\n"+want+"\n") {
				t.Errorf("metrics lack %q:\n%s", want, body)
			}
		}
		foreign, _ := http.NewRequest("GET", s.AdminURL+"/metrics", nil)
		foreign.Host = "evil.example.com"
		if r, err := s.HTTP.Do(foreign); err != nil || r.StatusCode != http.StatusForbidden {
			t.Errorf("a foreign Host: %v, %v; want 403", r, err)
		} else {
			r.Body.Close()
		}
	})
}

// An IPv6 address may have brackets, as in URLs.
func TestHostInBrackets(t *testing.T) {
	if l, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Skip("this machine has no IPv6")
	} else {
		l.Close()
	}
	s := servertest.Start(t, func(c *config.Serve) { c.Host = "[::1]" })
	c := s.Subscribe("t")
	s.Broadcast("t", "works")
	c.Expect("works")
	if !strings.HasPrefix(s.URL, "http://[::1]:") {
		t.Errorf("the server is at %s, want it at [::1]", s.URL)
	}
}

func TestAdminAddressTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	c := config.Default()
	c.Port = 0
	c.AdminAddr = new(taken.Addr().String())
	private, public, _ := auth.GenerateKey()
	for name, key := range map[string]string{"--admin-addr": string(public), "private key": string(private)} {
		c.JWTPublicKeyB64 = base64.StdEncoding.EncodeToString([]byte(key))
		if _, err := server.Open(c, server.Environment{}, nil); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("Open = %v, want an error that names %s", err, name)
		}
	}
}

// If no admin address is set and the default one is taken, the server starts without an
// admin listener and logs a warning.
func TestDefaultAdminAddressTaken(t *testing.T) {
	if taken, err := net.Listen("tcp", config.DefaultAdminAddr); err == nil { // otherwise it is taken already
		defer taken.Close()
	}
	s := servertest.Start(t, func(c *config.Serve) { c.AdminAddr = nil })
	s.Broadcast("t", "works")
	if s.AdminURL != "" || !strings.Contains(s.Log(), "level=WARN") || !strings.Contains(s.Log(), "--admin-addr") {
		t.Errorf("the admin listener is at %q; the log is %s", s.AdminURL, s.Log())
	}
}

func TestConnectionLimit(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
		s := start(func(c *config.Serve) { c.MaxConnections = 2 })
		a := s.Connect()
		s.Connect()
		refused := func() *http.Response {
			_, r, err := websocket.Dial(t.Context(), s.URL+"/ws", nil)
			if err == nil {
				t.Fatal("a third connection was accepted")
			}
			return r
		}
		if r := refused(); r.StatusCode != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" {
			t.Errorf("above the limit: %s, Retry-After %q; want 503", r.Status, r.Header.Get("Retry-After"))
		}
		if r, err := s.HTTP.Get(s.URL + "/ws"); err != nil || r.StatusCode != http.StatusUpgradeRequired {
			t.Errorf("not a handshake, above the limit: %v, %v; want 426", r, err)
		}
		a.Close(websocket.StatusNormalClosure, "")
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		for ctx.Err() == nil {
			if c, _, err := websocket.Dial(ctx, s.URL+"/ws", nil); err == nil {
				c.CloseNow()
				return
			}
		}
		t.Error("the slot of a closed connection is not free again")
	})
}

func TestShutdownDeliversAndSaysGoodbye(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
		s := start(nil)
		var clients []*servertest.Client
		for range 20 {
			clients = append(clients, s.Subscribe("t"))
		}
		for i := range 50 {
			s.Broadcast("t", fmt.Sprint(i))
		}
		stopped := make(chan error, 1)
		go func() { stopped <- s.Stop() }()
		var wg sync.WaitGroup
		for _, c := range clients {
			wg.Go(func() {
				for i := range 50 {
					c.Expect(fmt.Sprint(i))
				}
				c.ExpectClose(websocket.StatusServiceRestart)
			})
		}
		wg.Wait()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		if _, err := s.HTTP.Get(s.URL + "/readyz"); err == nil {
			t.Error("a server that has stopped still answers")
		}
	})
}

// A publisher that does not read its answers does not use up the time of the clients.
func TestShutdownDoesNotWaitForAPublisherThatDoesNotRead(t *testing.T) {
	s := servertest.Start(t, func(c *config.Serve) { c.ShutdownTimeout = 4 * time.Second })
	client := s.Subscribe("t")
	stuck := dialRaw(t, s.URL)
	topic := strings.Repeat("\u0085", 127) // three times as long in the answer
	body := `[{"topic":"` + topic + `"}` + strings.Repeat(`,{"topic":"`+topic+`"}`, 999) + `]`
	request := fmt.Appendf(nil, "POST /broadcast HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	// The kernel buffers several megabytes of answers. Then the server can write no more,
	// and stops reading.
	for range 64 {
		stuck.SetWriteDeadline(time.Now().Add(time.Second))
		if _, err := stuck.Write(request); err != nil {
			break
		}
	}
	stopped := make(chan error, 1)
	go func() { stopped <- s.Stop() }()
	client.ExpectClose(websocket.StatusServiceRestart)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if !strings.Contains(s.Log(), "requests did not finish in time") {
		t.Error("the log has no warning about the unfinished request")
	}
}

func TestASlowConsumerIsCutAndDelaysNoOthers(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
		s := start(func(c *config.Serve) {
			c.HistoryMessages = 10
			c.MaxMessageBytes, c.HistoryBytes, c.MaxLagBytes = 64<<10, 1<<20, 128<<10
		})
		stuck := dialWebSocket(t, s)
		if _, err := stuck.Write(slices.Concat(frametest.Text("/subscribe t "+s.Token(auth.Subscribe, "t")), frametest.Text("/"))); err != nil {
			t.Fatal(err)
		}
		if data, err := frametest.ReadText(stuck); err != nil || data != "Unknown command" {
			t.Fatalf("got %q, %v", data, err)
		}
		reader := s.Subscribe("t")
		reader.SetReadLimit(1 << 20)
		message := strings.Repeat("x", 60<<10)
		// The client that reads gets every message before the next is sent. The other one
		// is cut when neither the kernel nor the lag limit allows more.
		sent := 0
		for deadline := time.Now().Add(time.Minute); metric(t, s, `notiflux_closes_total{code="4202"}`) != "1"; sent++ {
			if time.Now().After(deadline) {
				t.Fatalf("a consumer that reads nothing of %d messages was not disconnected", sent)
			}
			s.Broadcast("t", fmt.Sprint(sent, " ", message))
			if got := reader.Next(); !strings.HasPrefix(got, fmt.Sprint(sent, " ")) {
				t.Fatalf("message %d: got %.20q", sent, got)
			}
		}
		// It now reads everything from the beginning without a gap, and then its close
		// frame, or the end of the connection if there was no room for that.
		for i := 0; ; i++ {
			data, err := frametest.ReadText(stuck)
			if closed := new(frametest.ClosedError); errors.As(err, &closed) && closed.Code != 4202 {
				t.Errorf("closed with %d, want 4202", closed.Code)
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("after %d messages the connection neither ends nor continues", i)
			}
			if err != nil {
				return
			}
			if i >= sent || !strings.HasPrefix(data, fmt.Sprint(i, " ")) {
				t.Fatalf("message %d of %d: got %.20q", i, sent, data)
			}
		}
	})
}

// A thousand clients connect, are served and disconnect, some without a close frame.
// Nothing is left.
func TestDisconnectedClientsLeaveNothing(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
		s := start(nil)
		s.Broadcast("warm", "up")
		const workers, each = 20, 50
		var wg sync.WaitGroup
		for w := range workers {
			token := s.Token(auth.Subscribe, pubsub.Topic(fmt.Sprint("topic", w)))
			wg.Go(func() {
				for i := range each {
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					c, _, err := websocket.Dial(ctx, s.URL+"/ws", nil)
					if err != nil {
						t.Error(err)
						cancel()
						return
					}
					c.Write(ctx, websocket.MessageText, fmt.Appendf(nil, "/subscribe topic%d %s", w, token))
					c.Write(ctx, websocket.MessageText, []byte("/"))
					if _, data, err := c.Read(ctx); err != nil || string(data) != "Unknown command" {
						t.Errorf("got %q, %v", data, err)
					}
					if i%2 == 0 {
						c.CloseNow()
					} else {
						c.Close(websocket.StatusNormalClosure, "bye")
					}
					cancel()
				}
			})
		}
		wg.Wait()
		deadline := time.Now().Add(20 * time.Second)
		for _, name := range []string{"notiflux_connections", "notiflux_sessions", "notiflux_subscriptions"} {
			for metric(t, s, name) != "0" && time.Now().Before(deadline) {
				runtime.Gosched()
			}
			if got := metric(t, s, name); got != "0" {
				t.Errorf("%s is %s after all have disconnected", name, got)
			}
		}
		want := "1" // the topic with a message
		if servertest.Remote() {
			want = "0" // the store has it
		}
		if got := metric(t, s, "notiflux_topics"); got != want {
			t.Errorf("%s topics remain, want %s", got, want)
		}
	})
}

// metric returns the value of one series of the server.
func metric(t *testing.T, s *servertest.Server, name string) string {
	t.Helper()
	r, err := s.HTTP.Get(s.AdminURL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	_, value, _ := strings.Cut(string(body), "\n"+name+" ")
	value, _, _ = strings.Cut(value, "\n")
	return value
}
