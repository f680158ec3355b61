//go:build linux

package bench_test

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws/wsutil"

	"github.com/ikornaselur/notiflux/internal/auth"
)

// Out of descriptors, the server goes on for those it has, and takes others
// once there is room.
func TestOutOfDescriptors(t *testing.T) {
	const limit = 60
	p := serveWithin(t, limit, "--max-connections=1000")
	subscribe, broadcast := p.token(t, auth.Subscribe, "t"), p.token(t, auth.Broadcast, "t")
	publish := func(client *http.Client, message string) {
		t.Helper()
		r, err := client.Post(p.url+"/broadcast", "", strings.NewReader(fmt.Sprintf(`{"topic":"t","message":%q,"token":%q}`, message, broadcast)))
		if err != nil || r.StatusCode != http.StatusOK {
			t.Fatalf("broadcast %q: %v, %v", message, r, err)
		}
		r.Body.Close()
	}
	first := p.subscribe(t, subscribe, 0)
	expect := func(c net.Conn, want string) {
		t.Helper()
		if got, err := wsutil.ReadServerText(c); err != nil || string(got) != want {
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
	second := p.subscribe(t, subscribe, 0)
	publish(publisher, "after")
	expect(first, "after")
	expect(second, "after")
}
