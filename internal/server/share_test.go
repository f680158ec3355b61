package server_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/rawclient"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// A returner is a client whose connection is cut again and again. It resumes where it was,
// and counts the messages of each topic.
type returner struct {
	t      *testing.T
	s      *servertest.Server
	topics []pubsub.Topic
	token  string
	since  map[pubsub.Topic]string
	cursor string
	got    map[pubsub.Topic]int
}

func newReturner(t *testing.T, s *servertest.Server, topics []pubsub.Topic) *returner {
	return &returner{t, s, topics, s.Token(auth.Subscribe, topics...), make(map[pubsub.Topic]string), "", make(map[pubsub.Topic]int)}
}

// visit connects and reads until the connection is cut after n bytes.
func (r *returner) visit(n int, speak func(*returner, *rawclient.Conn) error) {
	r.t.Helper()
	w, err := rawclient.Dial(r.s.URL, 0, 20*time.Second)
	if err != nil {
		r.t.Fatal(err)
	}
	defer w.Close()
	w.In = n
	if err := speak(r, w); !errors.Is(err, rawclient.ErrCut) {
		r.t.Fatalf("a connection ended with %v", err)
	}
}

// take handles what arrived.
func (r *returner) take(m rawclient.Object) {
	if m.Type == "message" {
		r.got[m.Topic]++
		r.since[m.Topic] = m.Position
	}
}

func (r *returner) overJSON(w *rawclient.Conn) error {
	if err := w.OpenJSON(""); err != nil {
		return err
	}
	if err := w.Command(map[string]any{"type": "subscribe", "topics": r.topics, "since": r.since, "last": 1000, "token": r.token}); err != nil {
		return err
	}
	for {
		m, err := w.Object()
		if err != nil {
			return err
		}
		if m.Type == "subscribed" {
			var topics map[pubsub.Topic]rawclient.Object
			if err := json.Unmarshal(m.Topics, &topics); err != nil || len(topics) != len(r.topics) {
				return fmt.Errorf("subscribed to %s, %v", m.Topics, err)
			}
			for topic, answer := range topics {
				r.since[topic] = answer.Position
			}
		}
		r.take(m)
	}
}

func (r *returner) overStream(w *rawclient.Conn) error {
	path := "/stream?last=1000"
	if r.cursor != "" {
		path += "&since=" + r.cursor
	}
	for _, topic := range r.topics {
		path += "&topic=" + string(topic)
	}
	next, err := w.Frames(path, 1, r.token, "", "\n")
	if err != nil {
		return err
	}
	for {
		line, err := next()
		if err != nil {
			return err
		}
		m, err := rawclient.ParseObject([]byte(line))
		if err != nil {
			return err
		}
		r.cursor = m.Cursor
		r.take(m)
	}
}

// A client whose connection is cut every 20 KB gets messages of all its topics, although
// each topic alone has more data than some of the connections carry.
func TestTopicsShareALinkThatIsCut(t *testing.T) {
	for _, c := range []struct{ topics, size, held, visits int }{{2, 100, 1000, 3}, {8, 2000, 100, 5}, {50, 100, 300, 40}, {3, 7000, 150, 40}} {
		s := servertest.Start(t, func(c *config.Serve) { c.HistoryMessages, c.HistoryBytes = 1000, c.HistoryTotalBytes })
		var topics []pubsub.Topic
		for i := range c.topics {
			topics = append(topics, pubsub.Topic(fmt.Sprintf("topic-%02d", i)))
		}
		fill(t, s, topics, c.size, c.held)
		for name, speak := range map[string]func(*returner, *rawclient.Conn) error{"json": (*returner).overJSON, "stream": (*returner).overStream} {
			r := newReturner(t, s, topics)
			for range c.visits {
				r.visit(20_000, speak)
			}
			for _, topic := range topics {
				if r.got[topic] == 0 {
					t.Errorf("%s, %d topics with messages of %d bytes: nothing of %s after %d connections; of all: %v", name, c.topics, c.size, topic, c.visits, r.got)
				}
			}
		}
	}
}

// fill publishes n messages of a size to each topic.
func fill(t *testing.T, s *servertest.Server, topics []pubsub.Topic, size, n int) {
	t.Helper()
	token := s.Token(auth.Broadcast, topics...)
	for _, topic := range topics {
		var all []map[string]any
		for i := range n {
			all = append(all, map[string]any{"topic": topic, "message": strings.Repeat("x", size)})
			if i == n-1 || len(all)*size > 500_000 {
				publishAll(t, s, all, token)
				all = nil
			}
		}
	}
}

func publishAll(t *testing.T, s *servertest.Server, all []map[string]any, token string) {
	t.Helper()
	body, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	if status, answer := broadcast(t, s, string(body), "Authorization", "Bearer "+token); status != 200 {
		t.Fatalf("publish: %d %s", status, answer)
	}
}
