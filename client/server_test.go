package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/client"
	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
)

func TestServer(t *testing.T) {
	s := servertest.Start(t, nil)
	start := s.Head("two words").String()
	before := s.Broadcast("two words", "before")
	other := s.Head("a").String()
	// The first token has expired, so the client must ask for another.
	var calls atomic.Int32
	c := connect(t, s.URL, client.Options{TokenSource: func(context.Context, client.TokenRequest) (string, error) {
		expires := time.Now().Add(-time.Hour)
		if calls.Add(1) > 1 {
			expires = time.Now().Add(time.Hour)
		}
		return string(s.TokenUntil(expires, auth.Subscribe, "two words", "a")), nil
	}}, hurry)
	defer c.Close()
	a := listen(t, c, wish{Topics: []string{"two words", "a", "b"}, Last: 1})
	a.expect("subscribed two words "+start+" 1 resumed=false", "subscribed a "+other+" 0 resumed=false",
		"message two words "+before+` "before"`, "refused b topic_denied")
	live := s.Broadcast("a", map[string]any{"x": 1})
	a.expect("message a " + live + ` {"x":1}`)
	if n := calls.Load(); n != 3 { // once more for the topic that is denied
		t.Errorf("a token was asked for %d times, want 3", n)
	}

	// Another client resumes from a position.
	lost := listen(t, dialServer(t, s), wish{
		Topics: []string{"two words", "a"},
		Since:  map[string]client.Position{"two words": "another:1", "a": client.Position(before)},
	})
	lost.expect("lost two words another:1 "+before+" expired", "subscribed a "+before+" 1 resumed=false", "message a "+live+` {"x":1}`)

	go s.Stop()
	a.expect("disconnected")
	lost.expect("disconnected")
}

func dialServer(t *testing.T, s *servertest.Server) *client.Client {
	c := connect(t, s.URL, client.Options{Token: subscribeToken(s, "two words", "a")}, hurry)
	t.Cleanup(func() { c.Close() })
	return c
}

func TestServerTellsWhoIsPresent(t *testing.T) {
	s := servertest.Start(t, nil)
	c := connect(t, s.URL, client.Options{Token: subscribeToken(s, "a")}, hurry)
	defer c.Close()
	a := listen(t, c, wish{Topics: []string{"a"}, Presence: true})
	if got := <-a.events; !strings.HasPrefix(got, "subscribed a ") {
		t.Errorf("got %q", got)
	}
	// The list, and the client's own join, in any order.
	seen := map[string]bool{<-a.events: true, <-a.events: true}
	if !seen["present a 1 of 1 test"] || !seen["joined a test"] {
		t.Errorf("got %v", seen)
	}
	present, err := c.Presence(t.Context(), "a")
	if want := "present a 1 of 1 test"; err != nil || describe(present, nil) != want {
		t.Errorf("Presence = %v, %v; want %s", describe(present, nil), err, want)
	}
}

func TestServerTakesBroadcasts(t *testing.T) {
	s := servertest.Start(t, nil)
	c := dialServer(t, s)
	a := listen(t, c, topics("a"))
	<-a.events
	p, err := client.New(s.URL, client.Options{Token: broadcastToken(s, "a")})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	first, err := publish(t.Context(), p, client.Publication{Topic: "a", Data: []byte("1"), Key: "k"})
	again, err2 := publish(t.Context(), p, client.Publication{Topic: "a", Data: []byte("1"), Key: "k"})
	if err != nil || err2 != nil || first != again {
		t.Errorf("the same key gave %v, %v and %v, %v", first, err, again, err2)
	}
	_, err = publish(t.Context(), p, client.Publication{Topic: "a", Data: []byte("2"), Key: "k"})
	if refusal, ok := errors.AsType[*client.Error](err); !ok || refusal.Code != "key_reused" {
		t.Errorf("another message with the key: %v", err)
	}
	results := p.PublishAll(t.Context(), []client.Publication{
		{Topic: "a", Data: []byte("not for this one"), Exclude: a.subscription.Connection("a")}, {Topic: "other", JSON: 1}, {Topic: "a", JSON: 3},
	})
	if results[0].Err != nil || results[1].Err == nil || results[2].Err != nil {
		t.Errorf("PublishAll = %v", results)
	}
	a.expect(fmt.Sprintf(`message a %v "1"`, first), fmt.Sprintf("message a %v 3", results[2].Position))
	h, err := c.History(t.Context(), "a", client.HistoryOptions{Since: first})
	if err != nil || len(h.Messages) != 2 || h.Position != results[2].Position || !h.Recovered || h.More {
		t.Errorf("History = %+v, %v", h, err)
	}
	if position, err := c.Position(t.Context(), "a"); err != nil || position != h.Position {
		t.Errorf("Position = %v, %v; want %v", position, err, h.Position)
	}
}

// A message that encoding/json accepts and the server refuses fails alone.
func TestServerTakesTheGoodOfABatch(t *testing.T) {
	s := servertest.Start(t, nil)
	p, err := client.New(s.URL, client.Options{Token: broadcastToken(s, "a")})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var list []client.Publication
	for _, bad := range []string{`{"x":1,"x":2}`, "\"\xff\"", `"\ud800"`, strings.Repeat("[", 70) + strings.Repeat("]", 70)} {
		list = append(list, client.Publication{Topic: "a", JSON: 1}, client.Publication{Topic: "a", JSON: json.RawMessage(bad)})
	}
	for at, r := range p.PublishAll(t.Context(), list) {
		refusal, refused := errors.AsType[*client.Error](r.Err)
		if at%2 == 0 && r.Err != nil || at%2 == 1 && (!refused || refusal.Code != "malformed") {
			t.Errorf("PublishAll of %s = %v", list[at].JSON, r.Err)
		}
	}
}

// After Close nothing of a client is left, however it was connected.
func TestCloseLeavesNoGoroutine(t *testing.T) {
	s := servertest.Start(t, nil)
	for _, way := range []string{"websocket", "events"} {
		t.Run(way, func(t *testing.T) {
			x := newScissors(t, s.URL, way == "events", nil)
			pprof.Do(t.Context(), pprof.Labels("client", t.Name()), func(ctx context.Context) {
				c := connect(t, x.address, client.Options{Token: subscribeToken(s, "a")}, hurry)
				subscription := c.Subscribe("a")
				if _, err := subscription.Next(ctx); err != nil {
					t.Error(err)
				}
				if _, err := c.History(ctx, "a", client.HistoryOptions{}); err != nil {
					t.Error(err)
				}
				c.Close()
				if _, err := subscription.Next(ctx); err != client.ErrClosed {
					t.Errorf("the subscription ended with %v", err)
				}
				if _, err := c.History(ctx, "a", client.HistoryOptions{}); !errors.Is(err, client.ErrClosed) {
					t.Errorf("History of a closed client = %v", err)
				}
			})
			// Goroutines of net/http for an idle connection end on their own, at once.
			deadline := time.Now().Add(20 * time.Second)
			for {
				var profile strings.Builder
				if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(profile.String(), fmt.Sprintf("%q", t.Name())) {
					return
				}
				if time.Now().After(deadline) {
					t.Fatalf("goroutines are left:\n%s", &profile)
				}
				runtime.Gosched()
			}
		})
	}
}
