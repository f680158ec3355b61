package listen_test

import (
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/internal/forwarded"
	"github.com/ikornaselur/notiflux/internal/internaltest/logtest"
	"github.com/ikornaselur/notiflux/internal/internaltest/memnet"
	"github.com/ikornaselur/notiflux/internal/listen"
)

const line = "PROXY TCP4 203.0.113.9 10.0.0.1 4711 80\r\n"

// The address of a client is that in the header if a trusted proxy sent it, and what comes after
// the header is left for the reader.
func TestTrustedProxiesSendHeaders(t *testing.T) {
	for name, test := range map[string]struct {
		trusted, sent string
		pause         time.Duration // in the middle of what is sent
		wake          bool          // the deadline of the connection is moved meanwhile
		client        string        // the address, or that of the proxy
		read          string        // what is read after the header
		logged        string
	}{
		"a line":                   {"0.0.0.0/0", line + "hello", 0, false, "203.0.113.9:4711", "hello", ""},
		"another version":          {"0.0.0.0/0", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x09\x0a\x00\x00\x01\x12\x67\x00\x50hello", 0, false, "203.0.113.9:4711", "hello", ""},
		"a slow proxy":             {"0.0.0.0/0", line + "hello", 4 * time.Second, false, "203.0.113.9:4711", "hello", ""},
		"a slow proxy, a shutdown": {"0.0.0.0/0", line + "hello", 4 * time.Second, true, "203.0.113.9:4711", "hello", ""},
		"a proxy that is too slow": {"0.0.0.0/0", line + "hello", 6 * time.Second, false, "", "", "sent no valid header"},
		"a check of the proxy":     {"0.0.0.0/0", "PROXY UNKNOWN\r\nhello", 0, false, "", "hello", ""},
		"no header":                {"0.0.0.0/0", "GET / HTTP/1.1\r\n\r\n", 0, false, "", "", "sent no valid header"},
		"only a connection":        {"0.0.0.0/0", "", 0, false, "", "", ""},
		"two headers":              {"0.0.0.0/0", line + line, 0, false, "203.0.113.9:4711", "", "or came twice"},
		"no proxy":                 {"192.0.2.0/24", "hello", 0, false, "", "hello", ""},
		"no proxy, a header":       {"192.0.2.0/24", line + "hello", 0, false, "", "", "not a trusted proxy"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				network, log := memnet.New(), new(logtest.Buffer)
				inner, err := network.Listen("127.0.0.1:80")
				if err != nil {
					t.Fatal(err)
				}
				proxies, _ := forwarded.Parse([]string{test.trusted})
				l := listen.New(inner, listen.Config{Max: 10, Log: slog.New(slog.NewTextHandler(log, nil)), Proxies: proxies})
				defer l.Close()
				proxy, err := network.Link(memnet.LinkConfig{}).DialContext(t.Context(), "tcp", "127.0.0.1:80")
				if err != nil {
					t.Fatal(err)
				}
				accepted, err := l.Accept()
				if err != nil {
					t.Fatal(err)
				}
				defer accepted.Close()
				var sending sync.WaitGroup
				defer sending.Wait()
				sending.Go(func() {
					defer proxy.Close()
					n := min(20, len(test.sent))
					_, _ = io.WriteString(proxy, test.sent[:n])
					time.Sleep(test.pause)
					_, _ = io.WriteString(proxy, test.sent[n:])
				})
				if test.wake {
					go func() {
						time.Sleep(time.Second)
						_ = accepted.SetReadDeadline(time.Unix(1, 0))
					}()
				}
				began := time.Now()
				want := test.client
				if want == "" {
					want = proxy.LocalAddr().String()
				}
				if got := accepted.RemoteAddr().String(); got != want {
					t.Errorf("the address is %s, want %s", got, want)
				}
				if took := time.Since(began); took > 5*time.Second {
					t.Errorf("the header took %v", took)
				}
				got, err := io.ReadAll(accepted)
				if string(got) != test.read || err != nil {
					t.Errorf("%q was read, %v; want %q", got, err, test.read)
				}
				if logged := log.String(); !strings.Contains(logged, test.logged) || test.logged == "" && logged != "" {
					t.Errorf("%q was logged, want %q", logged, test.logged)
				}
			})
		})
	}
}
