package server_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/ikornaselur/notiflux/internal/config"
)

// The log has the addresses of clients behind a trusted proxy, and of no one who invents them.
func TestTrustedProxies(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
		for _, test := range []struct{ trusted, want string }{
			{"127.0.0.0/8", "remote=203.0.113.9 "},
			{"10.0.0.0/8", "remote=127.0.0.1:"},
		} {
			s := start(func(c *config.Serve) { c.TrustedProxies = []string{test.trusted} })
			header := http.Header{"X-Forwarded-For": {"198.51.100.1, 203.0.113.9"}}
			refused := func(method, path string) {
				t.Helper()
				before := len(s.Log())
				request, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader("{}"))
				if err != nil {
					t.Fatal(err)
				}
				request.Header = header.Clone()
				answer, err := http.DefaultClient.Do(request)
				if err != nil {
					t.Fatal(err)
				}
				answer.Body.Close()
				if added := s.Log()[before:]; !strings.Contains(added, test.want) {
					t.Errorf("trusting %s, %s %s logs %q, want %s", test.trusted, method, path, added, test.want)
				}
			}
			refused("GET", "/nothing")
			refused("GET", "/events?topic=a")
			refused("POST", "/broadcast")

			conn, _, err := websocket.Dial(t.Context(), s.URL+"/ws", &websocket.DialOptions{HTTPHeader: header})
			if err != nil {
				t.Fatal(err)
			}
			before := len(s.Log())
			client := s.Client(conn)
			client.Say("/subscribe a x")
			client.Next()
			if added := s.Log()[before:]; !strings.Contains(added, test.want) {
				t.Errorf("trusting %s, a refused subscription logs %q, want %s", test.trusted, added, test.want)
			}
		}
	})
}
