package posts_test

import (
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/posts"
)

// A client sends the same post again and again, and counts the answers.
type client struct {
	net.Conn // nil
	post     string
	left     int
}

func (c *client) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	c.left--
	return copy(p, c.post), nil
}

func (c *client) Write(p []byte) (int, error)      { return len(p), nil }
func (c *client) CloseWrite() error                { return nil }
func (c *client) Close() error                     { return nil }
func (c *client) SetReadDeadline(time.Time) error  { return nil }
func (c *client) SetWriteDeadline(time.Time) error { return nil }
func (c *client) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(10, 1, 0, 1), Port: 49152} }

// Accept implements [net.Listener].
func (c *client) Accept() (net.Conn, error) { return c, nil }

// Addr implements [net.Listener].
func (c *client) Addr() net.Addr { return nil }

// usual is a post as clients send it.
var usual = post(`{"topic":"t","message":"hello"}`, "User-Agent: Go-http-client/1.1", "Authorization: Bearer a.b.c", "Content-Type: application/json", "Accept-Encoding: gzip")

// serve answers n posts on one connection.
func serve(tb testing.TB, n int) {
	tb.Helper()
	jsonType := []string{"application/json"}
	body := []byte("{}\n")
	answered := 0
	h := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			answered++
			w.Header()["Content-Type"] = jsonType
			_, _ = w.Write(body)
		}),
		IdleTimeout:  time.Minute,
		WriteTimeout: time.Minute,
	}
	c, err := posts.New(h, "/broadcast").Listener(&client{post: usual, left: n}).Accept()
	if err != nil {
		tb.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		tb.Fatal(n, err)
	}
	c.Close()
	if answered != n {
		tb.Fatalf("%d posts were answered, want %d", answered, n)
	}
}

func BenchmarkPost(b *testing.B) {
	b.ReportAllocs()
	serve(b, b.N)
}

// A post takes no allocation if its head is the same as that of the post before. With -race,
// pools lose some of what is put into them.
func TestAllocations(t *testing.T) {
	const n = 1000
	perConnection := testing.AllocsPerRun(10, func() { serve(t, 1) })
	if allocs := testing.AllocsPerRun(10, func() { serve(t, 1+n) }) - perConnection; allocs >= n {
		t.Errorf("%d posts take %v allocations, want fewer than one each", n, allocs)
	}
}
