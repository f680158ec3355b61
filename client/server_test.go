package client_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/client"
	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/server/servertest"
)

func TestServer(t *testing.T) {
	s := servertest.Start(t, nil)
	before := s.Broadcast("two words", "before")
	since, err := notiflux.ParsePosition(before)
	if err != nil {
		t.Fatal(err)
	}
	// The first token has expired: the client has to ask for another.
	var calls atomic.Int32
	c, err := client.Dial(t.Context(), s.URL, client.Options{TokenSource: func(context.Context) (client.Token, error) {
		expires := time.Now().Add(-time.Hour)
		if calls.Add(1) > 1 {
			expires = time.Now().Add(time.Hour)
		}
		return client.Token(s.TokenUntil(expires, auth.Subscribe, "two words", "a")), nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	a := listen(t, c, client.Subscription{Topics: []notiflux.Topic{"two words", "a", "b"}, Last: 1})
	a.expect("subscribed two words "+since.Epoch+":0 1 resumed=false", "subscribed a "+since.Epoch+":0 0 resumed=false",
		"refused b topic_denied", "message two words "+before+` "before"`)
	live := s.Broadcast("a", map[string]any{"x": 1})
	a.expect("message a " + live + ` {"x":1}`)
	if n := calls.Load(); n != 2 {
		t.Errorf("a token was asked for %d times, want 2", n)
	}

	// Another client goes on from a position of its own.
	lost := listen(t, dialServer(t, s), client.Subscription{
		Topics: []notiflux.Topic{"two words", "a"},
		Since:  map[notiflux.Topic]notiflux.Position{"two words": {Epoch: "another", Offset: 1}, "a": since},
	})
	lost.expect("lost two words another:1 "+before+" gap=false", "subscribed a "+before+" 1 resumed=false", "message a "+live+` {"x":1}`)

	go s.Stop()
	a.expect("disconnected")
	lost.expect("disconnected")
}

func dialServer(t *testing.T, s *servertest.Server) *client.Client {
	c, err := client.Dial(t.Context(), s.URL, client.Options{Token: client.Token(s.Token(auth.Subscribe, "two words", "a"))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
