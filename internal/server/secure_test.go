package server_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/server/servertest"
)

// secure starts a server that speaks TLS, and returns it with a configuration
// for clients that trusts it.
func secure(t *testing.T, start starter) (*servertest.Server, *tls.Config) {
	t.Helper()
	// The certificate that the standard library brings for tests.
	example := httptest.NewTLSServer(nil)
	defer example.Close()
	pair := example.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	s := start(func(c *config.Serve) {
		c.TLSCert = write("cert.pem", "CERTIFICATE", pair.Certificate[0])
		c.TLSKey = write("key.pem", "PRIVATE KEY", key)
	})
	roots := x509.NewCertPool()
	roots.AddCert(example.Certificate())
	return s, &tls.Config{RootCAs: roots}
}

// overHTTP2 has the server's client speak HTTP/2, and returns one that speaks
// HTTP/1.1 and opens WebSockets.
func overHTTP2(t *testing.T, s *servertest.Server, trust *tls.Config) *http.Client {
	transport := s.HTTP.Transport.(*http.Transport)
	transport.TLSClientConfig, transport.ForceAttemptHTTP2 = trust, true
	old := &http.Transport{TLSClientConfig: trust.Clone()}
	t.Cleanup(old.CloseIdleConnections)
	return &http.Client{Transport: old}
}

// A client over TLS is served by goroutines, and notices nothing of that.
func TestWebSocketOverTLS(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
		s, trust := secure(t, start)
		s.HTTP.Transport.(*http.Transport).TLSClientConfig = trust

		c, _, err := websocket.Dial(t.Context(), s.URL+"/ws", &websocket.DialOptions{HTTPClient: s.HTTP})
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseNow()
		for _, line := range []string{"/subscribe t " + s.Token(auth.Subscribe, "t"), "/"} {
			if err := c.Write(t.Context(), websocket.MessageText, []byte(line)); err != nil {
				t.Fatal(err)
			}
		}
		read := func(want string) {
			t.Helper()
			if _, got, err := c.Read(t.Context()); err != nil || string(got) != want {
				t.Fatalf("read %.20q, %v; want %.20q", got, err, want)
			}
		}
		read("Unknown command")
		long := strings.Repeat("over TLS ", 2000) // More than one batch of a portable socket.
		for range 10 {
			s.Broadcast("t", long)
		}
		for range 10 {
			read(long)
		}
		stopped := make(chan error, 1)
		go func() { stopped <- s.Stop() }()
		if _, _, err := c.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusServiceRestart {
			t.Errorf("at shutdown: %v, want close 1012", err)
		}
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
}

// All routes are there over HTTP/2, and a WebSocket beside them over HTTP/1.1.
func TestHTTP2(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
		s, trust := secure(t, start)
		old := overHTTP2(t, s, trust)
		for path, status := range map[string]int{"/health": 200, "/readyz": 200, "/broadcast": 405, "/ws": 426, "/nothing": 404} {
			answer, err := s.HTTP.Get(s.URL + path)
			if err != nil {
				t.Fatal(err)
			}
			answer.Body.Close()
			if answer.ProtoMajor != 2 || answer.StatusCode != status {
				t.Errorf("GET %s = %s %d, want HTTP/2.0 %d", path, answer.Proto, answer.StatusCode, status)
			}
		}
		c, _, err := websocket.Dial(t.Context(), s.URL+"/ws", &websocket.DialOptions{HTTPClient: old})
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseNow()
		for _, line := range []string{"/subscribe t " + s.Token(auth.Subscribe, "t"), "/"} {
			if err := c.Write(t.Context(), websocket.MessageText, []byte(line)); err != nil {
				t.Fatal(err)
			}
		}
		if _, got, err := c.Read(t.Context()); err != nil || string(got) != "Unknown command" {
			t.Fatalf("read %q, %v", got, err)
		}
		s.Broadcast("t", "over HTTP/2")
		if _, got, err := c.Read(t.Context()); err != nil || string(got) != "over HTTP/2" {
			t.Errorf("read %q, %v", got, err)
		}
	})
}

// A stream over HTTP/2 is a request under way that a shutdown does not wait for.
func TestShutdownWithAStreamOverHTTP2(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
		s, trust := secure(t, start)
		overHTTP2(t, s, trust)
		answer, err := s.HTTP.Get(s.URL + "/stream?topic=t&token=" + s.Token(auth.Subscribe, "t"))
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if answer.ProtoMajor != 2 || answer.StatusCode != 200 {
			t.Fatalf("GET /stream = %s %s", answer.Proto, answer.Status)
		}
		body := bufio.NewReader(answer.Body)
		if hello, err := body.ReadString('\n'); err != nil || !strings.Contains(hello, `"type":"hello"`) {
			t.Fatalf("read %q, %v; want hello", hello, err)
		}
		s.Broadcast("t", "last words")
		began := time.Now()
		stopped := make(chan error, 1)
		go func() { stopped <- s.Stop() }()
		got, err := io.ReadAll(body)
		if lines := strings.Split(string(got), "\n"); err != nil || len(lines) != 3 ||
			!strings.Contains(lines[0], `"data":"last words"`) || !strings.Contains(lines[1], `"code":"draining"`) {
			t.Errorf("read %q, %v; want the message and bye", got, err)
		}
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("the shutdown took %v", took)
		}
	})
}
