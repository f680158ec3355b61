package api

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/hub"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// How long a poll waits: docs/protocol.md, section 6. Most proxies give up after
// 60 s, some after 30.
const (
	defaultWait = 25 * time.Second
	maxWait     = 60 * time.Second
)

// cursorBytes is room for a cursor and what is around the messages of an answer.
const cursorBytes = 1 << 10

// Poll answers with what topics have behind a cursor, and with the next cursor.
// While there is nothing it waits, on the request's goroutine: some kilobytes for
// each client, where an event stream on a loop takes hardly any. HEAD does not wait.
//
// It answers as soon as there is a message, a place is not covered, or a topic
// begins here that has no place yet: so that who loses the connection has one.
func (a *API) Poll(w http.ResponseWriter, r *http.Request) error {
	s, wait, err := a.parsePoll(r)
	if err != nil {
		return err
	}
	claims, err := a.Authorize(r, s.Topics...)
	if err != nil {
		return err
	}
	if until := claims.Until(); !until.IsZero() {
		wait = min(wait, time.Until(until)) // It is a subscription as long as it waits.
	}
	if r.Method == http.MethodHead {
		wait = 0
	}
	body, err := a.poll(r.Context(), s, wait)
	if err != nil {
		return err
	}
	writeAnswer(w, http.StatusOK, body)
	return nil
}

func (a *API) parsePoll(r *http.Request) (StreamRequest, time.Duration, error) {
	q, err := a.query(r, "since", "last", "wait")
	if err != nil {
		return StreamRequest{}, 0, err
	}
	s, err := parseStarts(q, r.Header)
	if err != nil {
		return StreamRequest{}, 0, err
	}
	seconds, err := parseNumber(q, "wait", int(defaultWait/time.Second), int(maxWait/time.Second))
	return s, time.Duration(seconds) * time.Second, err
}

// A poll is one request while it is answered. It listens to its topics before it
// reads them, so that no message falls between.
type poll struct {
	// Owned by the request's goroutine.
	hub       *hub.Hub
	topics    []*hub.Topic
	places    []hub.Place // of topics; they move on as messages are taken
	recovered bool
	due       bool // there is something to answer with

	news waker
}

// A waker is a listener that remembers being woken.
type waker chan struct{}

// Wake does not block.
func (w waker) Wake() {
	select {
	case w <- struct{}{}:
	default:
	}
}

// poll returns the answer.
func (a *API) poll(ctx context.Context, s StreamRequest, wait time.Duration) ([]byte, error) {
	p := &poll{hub: a.hub, recovered: true, news: make(waker, 1)}
	defer p.leave()
	for i, topic := range s.Topics {
		if err := p.join(topic, s.Starts[i]); err != nil {
			return nil, err
		}
	}
	if !p.due && wait > 0 {
		if err := a.await(ctx, p.news, wait); err != nil {
			return nil, err
		}
	}
	return p.answer(), nil
}

func (p *poll) join(name notiflux.Topic, start hub.Start) error {
	topic, place, err := p.hub.Join(name, p.news, start)
	if err != nil {
		return err
	}
	p.topics, p.places = append(p.topics, topic), append(p.places, place)
	p.recovered = p.recovered && place.Recovered
	p.due = p.due || place.Replay > 0 || !place.Recovered || start.Since.Epoch == ""
	return nil
}

func (p *poll) leave() {
	for _, topic := range p.topics {
		p.hub.Leave(topic, p.news)
	}
}

// await waits for news, not longer than wait. It takes a place among the
// connections, and fails if there is none. Who is gone, or has only ended its own
// side of the connection, is answered like one whose time is over.
func (a *API) await(ctx context.Context, news waker, wait time.Duration) error {
	select {
	case <-a.draining: // Nobody takes a place any more.
		return nil
	default:
	}
	if err := a.enter(); err != nil {
		return err
	}
	defer a.leave()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-news:
	case <-timer.C:
	case <-a.draining:
	case <-ctx.Done():
	}
	return nil
}

// answer takes what fits, in the order of the topics, and says where it ends.
func (p *poll) answer() []byte {
	var taken page
	for i := range p.places {
		place := &p.places[i]
		for !taken.full() {
			entry, next, ok := place.Cursor.Next()
			if !ok {
				break
			}
			taken.add(entry.Message())
			place.Cursor, place.Position = next, entry.Message().Position
		}
	}
	return append(wire.AppendPollBody(make([]byte, 0, taken.size()+cursorBytes), p.cursor(), p.recovered, taken.messages), '\n')
}

// cursor returns the places as a cursor: in the order of the topics' names.
func (p *poll) cursor() []byte {
	order := make([]int, len(p.topics))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(p.topics[a].Name(), p.topics[b].Name()) })
	places := make([]wire.CursorPlace, len(order))
	for i, j := range order {
		places[i] = wire.CursorPlace{Hash: wire.TopicHash(p.topics[j].Name()), Offset: p.places[j].Position.Offset}
	}
	return wire.AppendCursor(nil, p.places[0].Position.Epoch, places)
}
