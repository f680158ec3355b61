package server_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
)

// A client over TLS is served by goroutines, and notices nothing of that.
func TestWebSocketOverTLS(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
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
		s.HTTP.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: roots}

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
