//go:build linux

package bench_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/internaltest/frametest"
)

// Out of descriptors, the server goes on for those it has, and takes others
// once there is room.
func TestOutOfDescriptors(t *testing.T) {
	const limit = 100
	p := serveWithin(t, limit)
	subscribe, broadcast := p.token(t, auth.Subscribe, "t"), p.token(t, auth.Broadcast, "t")
	publish := func(client *http.Client, message string) {
		t.Helper()
		r, err := client.Post(p.url+"/broadcast", "", strings.NewReader(fmt.Sprintf(`{"topic":"t","message":%q,"token":%q}`, message, broadcast)))
		if err != nil || r.StatusCode != http.StatusOK {
			t.Fatalf("broadcast %q: %v, %v", message, r, err)
		}
		io.Copy(io.Discard, r.Body) // so that the connection stays
		r.Body.Close()
	}
	first := p.subscribe(t, subscribe, 0)
	expect := func(c net.Conn, want string) {
		t.Helper()
		if got, err := frametest.ReadText(c); err != nil || got != want {
			t.Fatalf("got %q, %v; want %q", got, err, want)
		}
	}
	publisher := &http.Client{Timeout: 30 * time.Second} // Its connection is open before they run out.
	publish(publisher, "before")
	expect(first, "before")

	var waiting []net.Conn
	for range 2 * limit { // The kernel accepts for the server what it cannot take.
		c, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(c, "GET /ws HTTP/1.1\r\nHost: x\r\n")
		waiting = append(waiting, c)
	}
	for i := range 20 {
		publish(publisher, fmt.Sprint("meanwhile ", i))
		expect(first, fmt.Sprint("meanwhile ", i))
	}
	for _, c := range waiting {
		c.Close()
	}
	p.awaitRoom(t)
	second := p.subscribe(t, subscribe, 0)
	publish(publisher, "after")
	expect(first, "after")
	expect(second, "after")
}

// Clients without a token that ask one question and stay cannot take a server out:
// health checks and the admin listener answer, the log says what to change, and idle
// connections end early, so that others get in.
func TestIdleConnectionsLeaveRoom(t *testing.T) {
	const limit = 120
	p := serveWithin(t, limit)
	address := strings.TrimPrefix(p.url, "http://")
	var idle []net.Conn
	refused := 0
	for i := range 3 * limit {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(100 * time.Second)) // An idle connection has two minutes otherwise.
		fmt.Fprint(c, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || r.StatusCode != http.StatusOK {
			t.Fatalf("health on connection %d: %v, %v", i, r, err)
		}
		if r.Close {
			refused++
		} else {
			idle = append(idle, c)
		}
	}
	if len(idle) == 0 || refused == 0 {
		t.Errorf("%d connections stay open, %d do not; want some of each", len(idle), refused)
	}
	metrics, err := http.Get(p.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(metrics.Body)
	metrics.Body.Close()
	if want := "notiflux_open_connections "; err != nil || !strings.Contains(string(text), want) {
		t.Errorf("metrics lack %q: %v", want, err)
	}
	full, err := http.Get(p.url + "/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	full.Body.Close()
	if full.StatusCode != http.StatusServiceUnavailable || full.Header.Get("Retry-After") == "" || !full.Close {
		t.Errorf("a request past the limit: %s, %v; want 503 and the end of the connection", full.Status, full.Header)
	}
	if log := p.log.String(); !strings.Contains(log, "only health checks are accepted") || !strings.Contains(log, "NOTIFLUX_MAX_CONNECTIONS") {
		t.Errorf("the log does not say what to change:\n%s", log)
	}
	for _, i := range []int{0, len(idle) / 4} {
		if rest, err := io.ReadAll(idle[i]); err != nil || len(rest) > 0 {
			t.Errorf("idle connection %d of %d: %q, %v; want its end", i, len(idle), rest, err)
		}
	}
	newest := idle[len(idle)-1]
	newest.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprint(newest, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
	if r, err := http.ReadResponse(bufio.NewReader(newest), nil); err != nil || r.StatusCode != http.StatusOK {
		t.Errorf("the newest idle connection: %v, %v; want that it goes on", r, err)
	}
	p.awaitRoom(t)
}

// Where the server has fewer descriptors than it knows of, the log says so, and idle
// connections end early all the same.
func TestDescriptorsThatOthersTook(t *testing.T) {
	files := make([]*os.File, 60)
	for i := range files {
		var err error
		if files[i], err = os.Open(os.DevNull); err != nil {
			t.Fatal(err)
		}
		defer files[i].Close()
	}
	p := serveInheriting(t, 120, files)
	address := strings.TrimPrefix(p.url, "http://")
	for range 80 { // The kernel accepts for the server what it cannot take.
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	client := &http.Client{Timeout: 100 * time.Second} // An idle connection has two minutes otherwise.
	r, err := client.Get(p.url + "/health")
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("health: %v, %v", r, err)
	}
	r.Body.Close()
	if log := p.log.String(); !strings.Contains(log, "accepting a connection failed") || !strings.Contains(log, "ulimit -n") {
		t.Errorf("the log does not say what to change:\n%s", log)
	}
}

// awaitRoom returns once the server takes a client, which it may learn a moment after
// another has gone.
func (p *process) awaitRoom(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		c, err := p.connect(0)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the server takes no client: ", err)
		}
	}
}
