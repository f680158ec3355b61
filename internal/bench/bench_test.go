package bench_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/ikornaselur/notiflux/internal/bench"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/authtest"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
)

// small is a run that takes a moment.
func small(t *testing.T, base string) bench.Config {
	t.Helper()
	signer := authtest.NewSigner(t)
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	return bench.Config{
		URL:          u,
		Signer:       signer,
		Connections:  20,
		Topics:       3,
		MessageBytes: 100,
		Publishers:   2,
		Window:       4,
		Duration:     100 * time.Millisecond,
	}
}

// withServer starts a server and returns a small run against it.
func withServer(t *testing.T, change func(*config.Serve)) bench.Config {
	t.Helper()
	c := small(t, "http://example.com")
	s := servertest.Start(t, func(s *config.Serve) {
		s.JWTPublicKeyFile = ""
		s.JWTPublicKeyB64 = base64.StdEncoding.EncodeToString(c.Signer.PublicPEM())
		if change != nil {
			change(s)
		}
	})
	c.URL, _ = url.Parse(s.URL)
	return c
}

// run makes a run that must come to an end.
func run(t *testing.T, c bench.Config) *bench.Report {
	t.Helper()
	r, err := bench.Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestEveryDeliveryIsCounted(t *testing.T) {
	tests := map[string]func(*bench.Config){
		"window":         func(*bench.Config) {},
		"one at a time":  func(c *bench.Config) { c.Window, c.Publishers, c.Topics = 1, 1, 1 },
		"rate":           func(c *bench.Config) { c.Rate = 200 },
		"ramp":           func(c *bench.Config) { c.Ramp = 200 },
		"shortest":       func(c *bench.Config) { c.MessageBytes = bench.MinMessageBytes },
		"long":           func(c *bench.Config) { c.MessageBytes = 65_536 }, // the length of its frame has 8 bytes
		"a topic each":   func(c *bench.Config) { c.Topics = c.Connections },
		"one connection": func(c *bench.Config) { c.Connections, c.Topics = 1, 1 },
	}
	for name, change := range tests {
		for _, portable := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/portable=%v", name, portable), func(t *testing.T) {
				c := withServer(t, nil)
				change(&c)
				c.Portable = portable
				r := run(t, c)
				if !r.OK || r.Opened != c.Connections || r.Published == 0 || r.Delivered != r.Expected || r.Missing != 0 || r.FirstProblem != "" {
					t.Errorf("got %+v, want a flawless run", r)
				}
				if c.Connections%c.Topics == 0 && r.Delivered != r.Published*uint64(c.Connections/c.Topics) {
					t.Errorf("%d deliveries of %d messages to %d connections on %d topics", r.Delivered, r.Published, c.Connections, c.Topics)
				}
				if r.Latency.P50 <= 0 || r.Latency.Max < r.Latency.P999 || r.Connecting.P50 <= 0 || r.DeliveredRate <= 0 {
					t.Errorf("got %+v, want its times and rates", r)
				}
				if most := c.Rate * c.Duration.Seconds(); c.Rate > 0 && float64(r.Published) > most {
					t.Errorf("%d messages published, want at most %v", r.Published, most)
				}
				checkNothingIsLeft(t)
			})
		}
	}
}

// checkNothingIsLeft fails the test if a goroutine of a run is.
func checkNothingIsLeft(t *testing.T) {
	t.Helper()
	var profile bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"bench.(*lane)", "bench.(*poller)", "bench.(*publisher)", "bench.(*engine)"} {
		if strings.Contains(profile.String(), part) {
			t.Errorf("a goroutine of %s is left:\n%s", part, &profile)
		}
	}
}

func TestTLS(t *testing.T) {
	f := startFake(t, true, func(_, _ int, m string) []string { return []string{m} })
	c := small(t, f.URL)
	c.Topics = 1
	if _, err := bench.Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("got %v, want an error that says that the certificate is of an unknown authority", err)
	}
	c.TLS = f.Client().Transport.(*http.Transport).TLSClientConfig
	if r := run(t, c); !r.OK || r.Delivered == 0 {
		t.Errorf("got %+v, want a flawless run", r)
	}
	checkNothingIsLeft(t)
}

func TestInterruptedRunReports(t *testing.T) {
	c := withServer(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	c.Duration = time.Hour
	c.ProgressEvery = time.Millisecond
	var last bench.Progress
	c.Progress = func(p bench.Progress) {
		if last = p; p.Publishing && p.Delivered > 100 {
			cancel()
		}
	}
	r, err := bench.Run(ctx, c)
	if err != nil || !r.OK || r.Delivered < 100 || r.Seconds > 3000 {
		t.Errorf("got %+v, %v, want what was done so far", r, err)
	}
	if last.Open != c.Connections || last.Lost != 0 || last.Published == 0 || last.Elapsed <= 0 {
		t.Errorf("the last progress was %+v", last)
	}
}

func TestInterruptedWhileOpening(t *testing.T) {
	c := withServer(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	c.Ramp = 1
	c.ProgressEvery = time.Millisecond
	c.Progress = func(p bench.Progress) {
		if p.Open > 0 {
			cancel()
		}
	}
	r, err := bench.Run(ctx, c)
	if err != nil || r.Opened == 0 || r.Opened == c.Connections || r.Published != 0 {
		t.Errorf("got %+v, %v, want a report on some connections", r, err)
	}
}

func TestWhatIsWrongFromTheStartIsAnError(t *testing.T) {
	tests := []struct {
		name   string
		change func(*testing.T, *bench.Config)
		want   string
	}{
		{"another key", func(t *testing.T, c *bench.Config) { c.Signer = small(t, "http://example.com").Signer }, `the server denied a subscription: it answered "Subscribe to bench-`},
		{"too many descriptors", func(_ *testing.T, c *bench.Config) { c.Connections = 1 << 30 }, "too few file descriptors: 1073741824 connections need "},
		{"too large a message", func(_ *testing.T, c *bench.Config) { c.MessageBytes = 70_000 }, "the server refused a broadcast: too_large: "},
		{"another route", func(_ *testing.T, c *bench.Config) { c.URL = c.URL.JoinPath("/").JoinPath("elsewhere") }, "the server refused a connection: not_found: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := withServer(t, nil)
			tt.change(t, &c)
			_, err := bench.Run(t.Context(), c)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "eyJ") {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
			checkNothingIsLeft(t)
		})
	}
}

func TestNoServer(t *testing.T) {
	s := httptest.NewServer(nil)
	s.Close()
	if _, err := bench.Run(t.Context(), small(t, s.URL)); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("got %v, want that the connection was refused", err)
	}
}

func TestRefusedConnectionsAreCounted(t *testing.T) {
	c := withServer(t, func(s *config.Serve) { s.MaxConnections = 15 })
	c.Topics = 1
	r := run(t, c)
	if r.OK || r.Opened != 15 || r.Failed != 5 || !strings.Contains(r.FirstProblem, "over_capacity: ") {
		t.Errorf("got %+v, want 5 connections refused", r)
	}
	if r.Missing != 0 || r.Delivered != r.Published*15 {
		t.Errorf("got %+v, want all that the others were sent", r)
	}
}

// A fake speaks enough of the text protocol, and does what a server must not.
type fake struct {
	*httptest.Server
	// send is what it makes of the message with a number, for one subscriber:
	// what that one is sent. A nil slice closes the connection.
	send func(number, subscriber int, message string) []string

	mu          sync.Mutex
	subscribers []*websocket.Conn // guarded by mu
	broadcasts  int               // guarded by mu
}

func startFake(t *testing.T, secure bool, send func(number, subscriber int, message string) []string) *fake {
	f := &fake{send: send}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ws", f.connect)
	mux.HandleFunc("POST /broadcast", f.broadcast)
	f.Server = httptest.NewUnstartedServer(mux)
	f.Config.ErrorLog = log.New(io.Discard, "", 0)
	if secure {
		f.StartTLS()
	} else {
		f.Start()
	}
	t.Cleanup(f.Close)
	return f
}

func (f *fake) connect(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer conn.CloseNow()
	for {
		_, line, err := conn.Read(r.Context())
		if err != nil {
			return
		}
		f.mu.Lock()
		if strings.HasPrefix(string(line), "/subscribe ") {
			f.subscribers = append(f.subscribers, conn)
		} else {
			_ = conn.Write(r.Context(), websocket.MessageText, []byte("Unknown command"))
		}
		f.mu.Unlock()
	}
}

func (f *fake) broadcast(w http.ResponseWriter, r *http.Request) {
	var body struct{ Message string }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broadcasts++
	for i, conn := range f.subscribers {
		messages := f.send(f.broadcasts, i, body.Message)
		if messages == nil {
			go conn.Close(4202, "too slow")
			continue
		}
		for _, m := range messages {
			if m == refusal {
				http.Error(w, "no", http.StatusServiceUnavailable)
				return
			}
			_ = conn.Write(r.Context(), websocket.MessageText, []byte(m))
		}
	}
	fmt.Fprint(w, "{}")
}

// refusal makes a fake refuse a message.
const refusal = "refuse"

func TestFaultsOfAServerAreFound(t *testing.T) {
	var held string
	tests := []struct {
		name string
		send func(number, subscriber int, message string) []string
		want func(*bench.Report) bool
	}{
		{"loses a message of one subscriber", func(n, sub int, m string) []string {
			if n == 5 && sub == 1 {
				return []string{}
			}
			return []string{m}
		}, func(r *bench.Report) bool { return r.Missing == 1 && r.Disordered == 0 }},
		{"sends a message twice", func(n, sub int, m string) []string {
			if n == 5 && sub == 1 {
				return []string{m, m}
			}
			return []string{m}
		}, func(r *bench.Report) bool { return r.Missing == 0 && r.Disordered == 1 }},
		{"swaps two messages", func(n, sub int, m string) []string {
			switch {
			case n == 5 && sub == 1:
				held = m
				return []string{}
			case n == 6 && sub == 1:
				return []string{m, held}
			}
			return []string{m}
		}, func(r *bench.Report) bool { return r.Missing == 1 && r.Disordered == 1 }},
		{"changes a message", func(n, sub int, m string) []string {
			if n == 5 && sub == 1 {
				return []string{m + "!"}
			}
			return []string{m}
		}, func(r *bench.Report) bool { return r.Missing == 1 && r.Foreign == 1 }},
		{"closes a connection", func(n, sub int, m string) []string {
			if n == 5 && sub == 1 {
				return nil
			}
			return []string{m}
		}, func(r *bench.Report) bool {
			return r.Lost == 1 && strings.Contains(r.FirstProblem, "4202 too slow")
		}},
		{"refuses a message", func(n, _ int, m string) []string {
			if n == 5 {
				return []string{refusal}
			}
			return []string{m}
		}, func(r *bench.Report) bool {
			return r.Refused == 1 && r.Missing == 0 && strings.Contains(r.FirstProblem, "the server refused a broadcast: 503")
		}},
	}
	for _, tt := range tests {
		for _, portable := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/portable=%v", tt.name, portable), func(t *testing.T) {
				c := small(t, startFake(t, false, tt.send).URL)
				c.Connections, c.Topics, c.Publishers, c.Portable = 3, 1, 1, portable
				if r := run(t, c); r.OK || !tt.want(r) {
					t.Errorf("got %+v", r)
				}
				checkNothingIsLeft(t)
			})
		}
	}
}

func TestSilenceEndsARun(t *testing.T) {
	quiet := func(from int) func(int, int, string) []string {
		return func(n, sub int, m string) []string {
			if n >= from && sub == 1 {
				return []string{}
			}
			return []string{m}
		}
	}
	t.Run("from the first message", func(t *testing.T) {
		t.Parallel()
		c := small(t, startFake(t, false, quiet(1)).URL)
		c.Topics = 1
		if _, err := bench.Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), "1 of 20 connections did not receive the first message") {
			t.Errorf("got %v, want how many connections received nothing", err)
		}
	})
	t.Run("later", func(t *testing.T) {
		t.Parallel()
		c := small(t, startFake(t, false, quiet(3)).URL)
		c.Topics, c.Window, c.Duration = 1, 1, time.Hour
		if r := run(t, c); !r.Stalled || r.OK || r.Missing == 0 {
			t.Errorf("got %+v, want a stalled run", r)
		}
	})
}

func TestReportIsJSONWithUnits(t *testing.T) {
	c := withServer(t, nil)
	text, err := json.Marshal(run(t, c))
	if err != nil {
		t.Fatal(err)
	}
	var report map[string]any
	if err := json.Unmarshal(text, &report); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"connections_opened", "connections_lost", "messages_published", "deliveries_lost", "deliveries_per_second", "seconds", "ok"} {
		if _, ok := report[name]; !ok {
			t.Errorf("%s is missing in %s", name, text)
		}
	}
	if latency, ok := report["latency_microseconds"].(map[string]any); !ok || latency["p99"] == nil {
		t.Errorf("the percentiles are missing in %s", text)
	}
}
