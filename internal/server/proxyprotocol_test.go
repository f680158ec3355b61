package server_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
)

// through returns a client whose connections begin with header.
func through(header string, trust *tls.Config) *http.Client {
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		_, err = io.WriteString(c, header)
		return c, err
	}
	return &http.Client{Transport: &http.Transport{DialContext: dial, TLSClientConfig: trust, DisableKeepAlives: true}}
}

// The addresses of clients behind a proxy that forwards bytes are those in its headers, in the log
// and for limits, on every route.
func TestProxyProtocol(t *testing.T) {
	const line, binary = "PROXY TCP4 203.0.113.9 10.0.0.1 4711 80\r\n", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x09\x0a\x00\x00\x01\x12\x67\x00\x50"
	onBothLoops(t, func(t *testing.T, start starter) {
		proxied := func(change func(*config.Serve)) *servertest.Server {
			return start(func(c *config.Serve) {
				c.ProxyProtocol, c.TrustedProxies = true, []string{"127.0.0.0/8", "203.0.113.8"}
				if change != nil {
					change(c)
				}
			})
		}
		secured, trust := secure(t, proxied)
		for _, server := range []struct {
			*servertest.Server
			trust *tls.Config
		}{{proxied(nil), nil}, {secured, trust}} {
			for _, header := range []string{line, binary} {
				testLogged(t, server.Server, through(header, server.trust), "", "remote=203.0.113.9:4711 ")
			}
			testLogged(t, server.Server, through(line, server.trust), "198.51.100.1", "remote=203.0.113.9:4711 ")
			another := strings.Replace(line, "203.0.113.9", "203.0.113.8", 1) // a trusted proxy
			testLogged(t, server.Server, through(another, server.trust), "198.51.100.1", "remote=198.51.100.1 ")
		}
	})
}

// testLogged causes refusals on several routes, and compares their address in the log.
func testLogged(t *testing.T, s *servertest.Server, client *http.Client, forwardedFor, want string) {
	t.Helper()
	header := http.Header{}
	if forwardedFor != "" {
		header.Set("X-Forwarded-For", forwardedFor)
	}
	for _, request := range []string{"GET /nothing", "GET /events?topic=a", "POST /broadcast"} {
		method, path, _ := strings.Cut(request, " ")
		before := len(s.Log())
		r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header = header.Clone()
		answer, err := client.Do(r)
		if err != nil {
			t.Fatalf("%s: %v", request, err)
		}
		answer.Body.Close()
		if added := s.Log()[before:]; !strings.Contains(added, want) {
			t.Errorf("%s logs %q, want %s", request, added, want)
		}
	}
	conn, _, err := websocket.Dial(t.Context(), s.URL+"/ws", &websocket.DialOptions{HTTPClient: client, HTTPHeader: header})
	if err != nil {
		t.Fatal(err)
	}
	before := len(s.Log())
	c := s.Client(conn)
	c.Say("/subscribe a x")
	c.Next()
	if added := s.Log()[before:]; !strings.Contains(added, want) {
		t.Errorf("a refused subscription logs %q, want %s", added, want)
	}
	c.Say("/subscribe a " + s.Token(auth.Subscribe, "a"))
	c.Sync()
	s.HTTP = client
	s.Broadcast("a", "x")
	if got := c.Next(); got != "x" {
		t.Errorf("%s was received, want x", got)
	}
}

// Other clients are served as without the setting, but a header of theirs ends the connection. So
// does a connection of a proxy without one.
func TestProxyProtocolOfOthers(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
		for _, test := range []struct {
			trusted, header string
			served          bool
			logged          string
		}{
			{"192.0.2.0/24", "", true, ""},
			{"192.0.2.0/24", "PROXY TCP4 203.0.113.9 10.0.0.1 4711 80\r\n", false, "not a trusted proxy"},
			{"127.0.0.0/8", "", false, "sent no valid header"},
			{"127.0.0.0/8", "PROXY TCP4 localhost 10.0.0.1 4711 80\r\n", false, "sent no valid header"},
		} {
			s := start(func(c *config.Serve) { c.ProxyProtocol, c.TrustedProxies = true, []string{test.trusted} })
			name := fmt.Sprintf("trusting %s, with %q", test.trusted, test.header)
			answer, err := through(test.header, nil).Get(s.URL + "/readyz")
			if err == nil {
				answer.Body.Close()
			}
			if (err == nil) != test.served {
				t.Errorf("%s: %v, want it served: %t", name, err, test.served)
			}
			if log := s.Log(); !strings.Contains(log, test.logged) || test.logged == "" && strings.Contains(log, "PROXY") {
				t.Errorf("%s, the log has %q, want %q", name, log, test.logged)
			}
		}
	})
}
