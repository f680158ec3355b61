package server_test

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/rawclient"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// enter opens a connection of a member of topics, with a receive buffer of the given size
// in bytes; 0 is the system's choice. The answer is not read.
func enter(s *servertest.Server, buffer int, sub, info string, topics ...pubsub.Topic) (*rawclient.Conn, error) {
	w, err := rawclient.Dial(s.URL, buffer, time.Minute)
	if err != nil {
		return nil, err
	}
	if err := w.OpenJSON(""); err != nil {
		return w, err
	}
	grant := auth.Grant{Subject: sub, Scopes: []auth.Scope{auth.Subscribe}, Topics: topics}
	if info != "" {
		grant.Info = json.RawMessage(info)
	}
	if err := w.Command(map[string]any{"type": "auth", "token": s.Sign(grant)}); err != nil {
		return w, err
	}
	return w, w.Command(map[string]any{"type": "subscribe", "topics": topics, "presence": true})
}

// mustEnter is like enter, and closes the connection when the test ends.
func mustEnter(t *testing.T, s *servertest.Server, buffer int, sub, info string, topics ...pubsub.Topic) *rawclient.Conn {
	t.Helper()
	w, err := enter(s, buffer, sub, info, topics...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

// If many members join at once, each gets few events: their names up to a limit, then only
// their number, and all names again when few enough are left.
func TestACrowdGetsCounts(t *testing.T) {
	const most, more, few = 1000, 100, 700 // members; more than most, fewer than four fifths of it
	onBothLoops(t, func(t *testing.T, start starter) {
		s := start(func(c *config.Serve) { c.PresenceGrace = testGrace })
		observer := mustEnter(t, s, 0, "observer", "", "t")
		for _, want := range []string{"authenticated", "subscribed"} {
			if m, err := observer.Object(); err != nil || m.Type != want {
				t.Fatalf("got %+v, %v", m, err)
			}
		}
		began := time.Now()
		var crowd [most + more]*rawclient.Conn
		var wg, reading sync.WaitGroup
		defer reading.Wait()
		defer func() {
			for _, w := range crowd {
				if w != nil {
					w.Close()
				}
			}
		}()
		for first := range 10 {
			wg.Go(func() {
				for i := first; i < len(crowd); i += 10 {
					w, err := enter(s, 0, fmt.Sprintf("m%04d", i), "", "t")
					if err != nil {
						t.Error(err)
						return
					}
					crowd[i] = w
					reading.Go(func() { io.Copy(io.Discard, w) })
				}
			})
		}
		if wg.Wait(); t.Failed() {
			return
		}
		here, frames, counts := make(map[string]bool), 0, 0
		for known := 0; known < len(crowd)+1; frames++ {
			m, err := observer.Object()
			if err != nil {
				t.Fatal(err)
			}
			switch m.Type {
			case "join":
				if m.Member != nil {
					m.Members = []rawclient.Member{*m.Member}
				}
				if len(m.Members) > 100 || counts > 0 {
					t.Errorf("a join of %d members after %d counts", len(m.Members), counts)
				}
				for _, x := range m.Members {
					here[x.Sub] = true
				}
				known = len(here)
			case "presence":
				if counts++; m.Members != nil || m.Count <= most {
					t.Errorf("a count of %d with %d names", m.Count, len(m.Members))
				}
				known = m.Count
			}
		}
		took := time.Since(began)
		t.Logf("%d members joined in %v: one received %d frames, %d of them counts, and %d names", len(crowd), took, frames, counts, len(here))
		if bound := int(took/gather) + 1 + most/100 + int(took/time.Second) + 3; frames > bound {
			t.Errorf("one received %d frames in %v, want at most %d", frames, took, bound)
		}
		if counts == 0 || len(here) > most {
			t.Errorf("received %d names and %d counts of %d members", len(here), counts, len(crowd))
		}
		for _, w := range crowd[few:] {
			w.Close()
		}
		for {
			m, err := observer.Object()
			if err != nil {
				t.Fatal(err)
			}
			if m.Type != "presence" || m.Members != nil {
				if m.Type != "presence" || m.Count != few+1 || len(m.Members) != few+1 || m.Members[0].Sub != "m0000" || m.Members[few].Sub != "observer" {
					t.Errorf("when few remain: %s, counted %d, %d names", m.Type, m.Count, len(m.Members))
				}
				break
			}
		}
		mustEnter(t, s, 0, "late", "", "t")
		if m, err := observer.Object(); err != nil || m.Type != "join" || m.Member == nil || m.Member.Sub != "late" {
			t.Errorf("after the list: %+v, %v", m, err)
		}
	})
}

// A member that stops reading is disconnected like any slow client, however many presence
// events there are. The server does not keep the unread events for it.
func TestASlowMemberIsCut(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
		s := start(func(c *config.Serve) {
			c.PresenceGrace = gather
			c.MaxMessageBytes, c.HistoryBytes, c.HistoryMessages, c.MaxLagBytes = 4<<10, 8<<10, 2, 128<<10
		})
		var topics []pubsub.Topic
		for i := range 40 {
			topics = append(topics, pubsub.Topic(fmt.Sprint("t", i)))
		}
		mustEnter(t, s, 4096, "stuck", "", topics...)
		done := make(chan struct{})
		var movers sync.WaitGroup
		for i := range 8 {
			w := mustEnter(t, s, 0, fmt.Sprint("mover ", i), `{"x":"`+strings.Repeat("x", 1000)+`"}`, topics...)
			go io.Copy(io.Discard, w)
			movers.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-done:
						return
					case <-time.After(3 * gather):
					}
					command := map[string]any{"type": "subscribe", "topics": topics, "presence": true}
					if n%2 == 0 {
						command = map[string]any{"type": "unsubscribe"}
					}
					if err := w.Command(command); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		defer movers.Wait()
		defer close(done)
		for deadline := time.Now().Add(time.Minute); metric(t, s, `notiflux_closes_total{code="4202"}`) != "1"; {
			if time.Now().After(deadline) {
				t.Fatal("a member that reads nothing was not disconnected")
			}
			<-time.After(gather)
		}
		if n := counter(t, s, "notiflux_sessions"); n != 9 && n != 8 { // the stuck one is closing or gone
			t.Errorf("%d sessions, want those of the movers", n)
		}
	})
}
