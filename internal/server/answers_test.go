package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/broker/brokertest/fakestore"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/frametest"
	"github.com/ikornaselur/notiflux/internal/internaltest/rawclient"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/server"
)

// awkward is a megabyte of messages that become six times as long in JSON.
func awkward(s *servertest.Server) {
	for range 50 {
		s.Broadcast("a", strings.Repeat("\x01", 20_000))
	}
}

// dialUnread sends a request, and returns the connection before the answer. The client
// reads little ahead, and its kernel buffers little.
func dialUnread(t *testing.T, s *servertest.Server, request string) *rawclient.Conn {
	t.Helper()
	c, err := rawclient.Dial(s.URL, 4<<10, 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.R = bufio.NewReaderSize(c, 16)
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	return c
}

// mustHead reads the head of an answer.
func mustHead(t *testing.T, c *rawclient.Conn, status int) {
	t.Helper()
	if _, err := c.Head(status); err != nil {
		t.Fatal(err)
	}
}

// A client that requests a large answer and does not read it holds only a small part of it.
func TestUnreadAnswersTakeLittleMemory(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
		s := start(nil)
		awkward(s)
		token := s.Token(auth.Subscribe, "a")
		get := func(path string) func() {
			request := "GET " + path + "&token=" + token + " HTTP/1.1\r\nHost: x\r\n\r\n"
			return func() {
				mustHead(t, dialUnread(t, s, request), 200)
			}
		}
		epoch, _, _ := strings.Cut(mustRead(t, s, "/history?topic=a&limit=0", "a").Position, ":")
		for name, ask := range map[string]func(){
			"GET /history": get("/history?topic=a&limit=1000"),
			"GET /poll":    get("/poll?topic=a&since=" + epoch + ":0"),
			"history": func() {
				c := dialUnread(t, s, rawclient.Handshake+rawclient.JSONProtocol+"Authorization: Bearer "+token+"\r\n\r\n")
				mustHead(t, c, 101)
				if _, err := c.Message(); err != nil { // the welcome
					t.Fatal(err)
				}
				if _, err := c.Write(frametest.Text(`{"type":"history","topic":"a","limit":1000}`)); err != nil {
					t.Fatal(err)
				}
				if first, err := c.R.ReadByte(); err != nil || first != 1 { // text, not final
					t.Fatalf("%x, %v", first, err)
				}
			},
		} {
			const n = 100
			before := heapInUse()
			for range n {
				ask()
			}
			if held, most := heapInUse()-before, int64(24<<20); held > most {
				t.Errorf("%d unread answers to %s hold %d KiB, more than %d", n, name, held>>10, most>>10)
			}
		}
	})
}

// Answers to /history and history that no client reads own the messages that the server has
// read from a shared broker. Together they stay within the limit: later ones have fewer
// messages, and then they are refused. No client is disconnected.
func TestUnreadHistoriesOfASharedBrokerAreBounded(t *testing.T) {
	const most = 8 << 20
	store := fakestore.New(fakestore.Config{Delay: time.Millisecond})
	s := servertest.StartIn(t, server.Environment{Broker: func(sink broker.Sink) broker.Broker { return store.Node(sink) }},
		func(c *config.Serve) { c.MaxUnreadBytes = most })
	awkward(s)
	bearer := "Authorization: Bearer " + s.Token(auth.Subscribe, "a") + "\r\n"
	kinds := make(map[string]int)
	for range 100 {
		c := dialUnread(t, s, "GET /history?topic=a&limit=1000 HTTP/1.1\r\nHost: x\r\n"+bearer+"\r\n")
		head, err := c.UpTo("\r\n\r\n")
		if err != nil {
			t.Fatal(err)
		}
		kinds[strings.Fields(head)[1]]++

		c = dialUnread(t, s, rawclient.Handshake+rawclient.JSONProtocol+bearer+"\r\n")
		mustHead(t, c, 101)
		if _, err := c.Message(); err != nil { // the welcome
			t.Fatal(err)
		}
		if _, err := c.Write(frametest.Text(`{"type":"history","topic":"a","limit":1000}`)); err != nil {
			t.Fatal(err)
		}
		first, err := c.R.Peek(1)
		if err != nil {
			t.Fatal(err)
		}
		if first[0] == 1 { // text, not final
			kinds["history"]++
		} else if m, err := c.Object(); err == nil && m.Type == "error" {
			kinds[m.Code]++
		} else {
			t.Fatalf("received a frame of type %q, %v", m.Type, err)
		}
	}
	if kinds["200"] < 10 || kinds["503"] < 10 || kinds["history"] < 10 || kinds["over_capacity"] < 10 {
		t.Errorf("the answers are %v", kinds)
	}
	if used, err := strconv.ParseFloat(metric(t, s, "notiflux_unread_bytes"), 64); err != nil || used < most/4 || used > most {
		t.Errorf("%v bytes are unread, %v; want at most %d", used, err, most)
	}
}

// heapInUse returns the memory in use after garbage collection.
func heapInUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // also frees the contents of pools
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// An HTTP/2 client that cancels its requests costs little.
func TestCancelledReadsCostLittle(t *testing.T) {
	s, trust := secure(t, func(change func(*config.Serve)) *servertest.Server { return servertest.Start(t, change) })
	overHTTP2(t, s, trust)
	awkward(s)
	token := s.Token(auth.Subscribe, "a")
	const n = 100
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			r, err := http.NewRequestWithContext(ctx, "GET", s.URL+"/history?topic=a&limit=1000&token="+token, nil)
			if err != nil {
				t.Error(err)
				return
			}
			if answer, err := s.HTTP.Do(r); err == nil {
				answer.Body.Close()
			}
		})
	}
	all.Wait()
	if err := s.Stop(); err != nil { // all handlers have ended
		t.Error(err)
	}
	runtime.ReadMemStats(&after)
	if each, most := (after.TotalAlloc-before.TotalAlloc)/n, uint64(3<<20); each > most {
		t.Errorf("a canceled read cost %d KiB, more than %d", each>>10, most>>10)
	}
}

// A client library joins the fragments of a large answer, and answers pings meanwhile. The
// next message is not affected.
func TestALargeHistoryIsOneMessage(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
		s := start(nil)
		awkward(s)
		c := connectJSON(t, s, both(s, "u", "a"))
		c.SetReadLimit(4 << 20)
		next := func(want string) (a reading) {
			_, p, err := c.Read(t.Context())
			if err != nil || !strings.HasPrefix(string(p), `{"type":"`+want+`"`) {
				t.Fatalf("%.100s, %v; want %s", p, err, want)
			}
			if want == "history" {
				if err := json.Unmarshal(p, &a); err != nil {
					t.Fatal(err)
				}
			}
			return a
		}
		since, got := "", 0
		for more := true; more; {
			for _, command := range []string{`{"type":"history","topic":"a","limit":1000` + since + `}`, `{"type":"ping"}`} {
				if err := c.Write(t.Context(), websocket.MessageText, []byte(command)); err != nil {
					t.Fatal(err)
				}
			}
			a := next("history")
			next("pong")
			got, more = got+len(a.Messages), a.More
			since = fmt.Sprintf(`,"since":%q`, a.Position)
			if !a.Recovered {
				t.Fatal("not recovered")
			}
		}
		if got != 50 {
			t.Errorf("%d messages", got)
		}
	})
}

// full starts a server whose clients have so much unread data that there is no room for
// more. It returns a function that disconnects them. Topic a has messages and members.
func full(t *testing.T) (s *servertest.Server, leave func()) {
	t.Helper()
	s = servertest.Start(t, func(c *config.Serve) { c.MaxUnreadBytes = 128 * config.KiB })
	awkward(s)
	for i := range 4 {
		token := s.Sign(auth.Grant{Subject: fmt.Sprint(i, strings.Repeat("m", 250)), Scopes: []auth.Scope{auth.Subscribe}, Topics: []pubsub.Topic{"a"},
			Info: json.RawMessage(`{"about":"` + strings.Repeat("i", 1000) + `"}`)})
		c := connectJSON(t, s, token)
		c.Say(`{"type":"subscribe","topics":["a"],"presence":true}`)
		c.Next() // subscribed
	}
	var unread []io.Closer
	for range 8 { // a piece of 16 KiB each
		c := dialUnread(t, s, "GET /poll?topic=a&last=1000&token="+s.Token(auth.Subscribe, "a")+" HTTP/1.1\r\nHost: x\r\n\r\n")
		if _, err := c.UpTo("\r\n\r\n"); err != nil { // the last one may be refused
			t.Fatal(err)
		}
		unread = append(unread, c)
	}
	return s, func() {
		for _, c := range unread {
			c.Close()
		}
	}
}

// WebSocket clients that do not read leave room for answers over HTTP.
func TestUnreadWebSocketsLeaveRoomForHTTP(t *testing.T) {
	s := servertest.Start(t, func(c *config.Serve) { c.MaxUnreadBytes = 128 * config.KiB })
	awkward(s)
	for _, header := range []string{"", "Authorization: Bearer " + s.Token(auth.Subscribe, "a") + "\r\n"} {
		for range 20 {
			c := dialUnread(t, s, rawclient.Handshake+rawclient.JSONProtocol+header+"\r\n")
			mustHead(t, c, 101)
			for range 20 {
				if _, err := c.Write(frametest.Text(refusedTopics(90))); err != nil {
					break // the server closed it
				}
			}
		}
	}
	mustRead(t, s, "/history?topic=a&limit=1000", "a")
}

// All unread data has one limit. Small answers are still sent.
func TestUnreadAnswersAreBoundedTogether(t *testing.T) {
	s, leave := full(t)
	bearer := "Bearer " + s.Token(auth.Subscribe, "a")
	for _, path := range []string{"/history?topic=a", "/poll?topic=a&last=10", "/presence?topic=a"} {
		if a := read(s.HTTP, s.URL, "GET", path, "Authorization", bearer); a.status != 503 || a.Code != pubsub.OverCapacity || a.header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %s, %v", path, a.status, a.Code, a.err)
		}
		if a := read(s.HTTP, s.URL, "HEAD", path, "Authorization", bearer); a.status != 200 {
			t.Errorf("HEAD %s: %d", path, a.status)
		}
	}
	mustRead(t, s, "/history?topic=a&limit=0", "a")
	mustRead(t, s, "/poll?topic=a", "a")
	leave()
	for deadline := time.Now().Add(20 * time.Second); ; {
		a := read(s.HTTP, s.URL, "GET", "/history?topic=a", "Authorization", bearer)
		if a.status == 200 && len(a.Messages) > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after they left: %d %s, %v", a.status, a.Code, a.err)
		}
	}
}
