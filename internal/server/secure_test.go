package server_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
)

// secure starts a server with TLS, and returns it with a configuration for clients that
// trusts its certificate.
func secure(t *testing.T, start starter) (*servertest.Server, *tls.Config) {
	t.Helper()
	// The certificate that the standard library contains for tests.
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

// overHTTP2 makes the server's client use HTTP/2, and returns one that uses HTTP/1.1 and
// opens WebSockets. A nil trust means no TLS, with prior knowledge.
func overHTTP2(t *testing.T, s *servertest.Server, trust *tls.Config) *http.Client {
	transport, old := s.HTTP.Transport.(*http.Transport), new(http.Transport)
	transport.Protocols = new(http.Protocols)
	if trust != nil {
		transport.TLSClientConfig, old.TLSClientConfig = trust, trust.Clone()
		transport.Protocols.SetHTTP2(true)
	} else {
		transport.Protocols.SetUnencryptedHTTP2(true)
	}
	t.Cleanup(old.CloseIdleConnections)
	return &http.Client{Transport: old}
}

// onBothHTTP2 runs a test over HTTP/2 with and without TLS. The server's client uses
// HTTP/2; old does not.
func onBothHTTP2(t *testing.T, test func(t *testing.T, s *servertest.Server, old *http.Client)) {
	onBothLoops(t, func(t *testing.T, start starter) {
		t.Run("TLS", func(t *testing.T) {
			s, trust := secure(t, start)
			test(t, s, overHTTP2(t, s, trust))
		})
		t.Run("prior knowledge", func(t *testing.T) {
			s := start(nil)
			test(t, s, overHTTP2(t, s, nil))
		})
	})
}

// Goroutines serve a client over TLS, which the client does not notice.
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
		long := strings.Repeat("over TLS ", 2000) // more than one batch of a portable socket
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

// All routes work over HTTP/2, beside a WebSocket over HTTP/1.1.
func TestHTTP2(t *testing.T) {
	onBothHTTP2(t, func(t *testing.T, s *servertest.Server, old *http.Client) {
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

// A WebSocket over HTTP/2 (RFC 8441) is declined. The server does not offer it, so clients
// use HTTP/1.1, and a client that tries anyway gets an answer at once.
func TestWebSocketsOverHTTP2AreDeclined(t *testing.T) {
	s := servertest.Start(t, nil)
	const (
		preface       = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
		noSettings    = "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
		rstStream     = 3
		settings      = 4
		enableConnect = 8 // SETTINGS_ENABLE_CONNECT_PROTOCOL
	)
	var head strings.Builder // literal fields without indexing (RFC 7541, section 6.2.2)
	for _, field := range []string{":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":path", "/ws", ":authority", "x"} {
		if field[0] == ':' {
			head.WriteByte(0)
		}
		head.WriteByte(byte(len(field)))
		head.WriteString(field)
	}
	w := dialHTTP(t, s.URL)
	fmt.Fprintf(w, "%s%s\x00\x00%c\x01\x05\x00\x00\x00\x01%s", preface, noSettings, head.Len(), &head)
	for {
		var header [9]byte
		if _, err := io.ReadFull(w.R, header[:]); err != nil {
			t.Fatal(err)
		}
		payload := make([]byte, int(header[0])<<16|int(header[1])<<8|int(header[2]))
		if _, err := io.ReadFull(w.R, payload); err != nil {
			t.Fatal(err)
		}
		switch header[3] {
		case settings:
			for setting := range slices.Chunk(payload, 6) {
				if setting[1] == enableConnect {
					t.Error("the server offers WebSockets over HTTP/2")
				}
			}
		case rstStream:
			return
		}
	}
}

// A request to switch a connection to HTTP/2 is answered over HTTP/1.1, as RFC 9113
// requires.
func TestUpgradeToHTTP2IsIgnored(t *testing.T) {
	s := servertest.Start(t, nil)
	w := dialHTTP(t, s.URL)
	for range 2 {
		r := w.ask("GET /health", "", "Connection", "Upgrade, HTTP2-Settings", "Upgrade", "h2c", "HTTP2-Settings", "AAMAAABkAAQAAP__")
		if r.StatusCode != 200 || r.Proto != "HTTP/1.1" || r.Header.Get("Upgrade") != "" {
			t.Errorf("%s %s, Upgrade: %q; want 200 over HTTP/1.1", r.Proto, r.Status, r.Header.Get("Upgrade"))
		}
	}
}

// A stream over HTTP/2 is a request in progress that a shutdown does not wait for.
func TestShutdownWithAStreamOverHTTP2(t *testing.T) {
	onBothHTTP2(t, func(t *testing.T, s *servertest.Server, _ *http.Client) {
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
