package server_test

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/frametest"
	"github.com/ikornaselur/notiflux/internal/internaltest/rawclient"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
	"github.com/ikornaselur/notiflux/internal/internaltest/toydialect"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/server"
	"github.com/ikornaselur/notiflux/internal/session"
)

// A new dialect needs only its folder, and one line where the server lists its endpoints.
func TestAToyDialect(t *testing.T) {
	for _, loops := range []string{"auto", "portable"} {
		t.Run(loops, func(t *testing.T) {
			env := server.Environment{Endpoints: []*session.Endpoint{toydialect.Endpoint()}}
			s := servertest.StartIn(t, env, func(c *config.Serve) { c.Loops = loops })
			toy := openToy(t, s)
			reads := func(want string) {
				t.Helper()
				f, err := frametest.ReadFrame(toy.R)
				if err == nil && f.RSV() != 0 {
					f.Payload, err = frametest.Inflate(f.Payload)
				}
				if err != nil || !strings.HasPrefix(string(f.Payload), want) {
					t.Fatalf("read %q, %v; want %q", f.Payload, err, want)
				}
			}
			reads("hello ")
			toy.Say("+a " + s.Token(auth.Subscribe, "b"))
			reads("no a topic_denied")
			toy.Say("+a " + s.Token(auth.Subscribe, "a"))
			reads("ok a ")
			one := position(t, s.Broadcast("a", "one"))
			reads(fmt.Sprintf("a %d one", one.Offset))
			s.Broadcast("a", map[string]int{"cannot be": 1})
			two := position(t, s.Broadcast("a", strings.Repeat("two", 100)))
			reads(fmt.Sprintf("a %d twotwo", two.Offset))
			gap := pubsub.Position{Epoch: two.Epoch, Offset: two.Offset + 100}
			server.Gap(s.Server, "a", gap)
			reads(fmt.Sprintf("gap a %d", gap.Offset))
			toy.Say("-a")
			toy.Say("+b " + s.Token(auth.Subscribe, "b"))
			reads("ok b ")
			s.Broadcast("a", "not for it")
			s.Broadcast("b", "three")
			reads("b ")
			go s.Stop()
			reads("bye draining")
			reads("\x13\x87this server is shutting down") // 4999
		})
	}
}

func position(t *testing.T, text string) pubsub.Position {
	t.Helper()
	p, err := pubsub.ParsePosition(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func openToy(t *testing.T, s *servertest.Server) *rawclient.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	c := rawclient.New(nc)
	if err := c.Upgrade("Sec-WebSocket-Protocol: " + toydialect.Subprotocol + "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"); err != nil {
		t.Fatal(err)
	}
	return c
}
