package server_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/internaltest/frametest"
	"github.com/ikornaselur/notiflux/internal/internaltest/rawclient"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
)

// dialSmall connects with a small receive buffer, sends a request and further data, and
// never reads.
func dialSmall(t *testing.T, s *servertest.Server, request string, then ...[]byte) {
	t.Helper()
	c, err := rawclient.Dial(s.URL, 4096, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := fmt.Fprintf(c, request, s.Token(auth.Subscribe, "a")); err != nil {
		t.Fatal(err)
	}
	go func() { // the server stops reading, too
		for _, p := range then {
			if _, err := c.Write(p); err != nil {
				return
			}
		}
	}()
}

// The whole server shuts down without such clients, over real sockets.
func TestClientsThatReadNothingDoNotHoldTheShutdown(t *testing.T) {
	s := servertest.Start(t, nil)
	for range 16 {
		s.Broadcast("a", strings.Repeat("x", 60_000))
	}
	dialSmall(t, s, "GET /events?topic=a&last=16&token=%s HTTP/1.1\r\nHost: x\r\n\r\n")
	dialSmall(t, s, rawclient.Handshake+"Sec-WebSocket-Protocol: notiflux.v1.json, notiflux.token.%s\r\n\r\n",
		frametest.Text(`{"type":"subscribe","topics":["a"],"last":16}`))
	var unknown [][]byte
	for range 990 {
		unknown = append(unknown, frametest.Text("/subscribe "+strings.Repeat("x", 300)+" t"))
	}
	dialSmall(t, s, rawclient.Handshake+"X-Token: %s\r\n\r\n", unknown...)

	// Wait until their sockets are full and the metrics no longer change.
	state := func() string {
		var all []string
		for _, name := range []string{"notiflux_sessions", "notiflux_commands_total", "notiflux_deliveries_total"} {
			all = append(all, metric(t, s, name))
		}
		return strings.Join(all, " ")
	}
	for before := ""; before != state() || !strings.HasPrefix(before, "3 "); <-time.After(300 * time.Millisecond) {
		before = state()
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	if log := s.Log(); strings.Contains(log, "in time") {
		t.Errorf("the shutdown took all of its time:\n%s", log)
	}
}
