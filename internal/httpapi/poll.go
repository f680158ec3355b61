package httpapi

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/answer"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// How long a poll waits: docs/protocol.md, section 6. Most proxies give up after
// 60 s, some after 30.
const (
	defaultWait = 25 * time.Second
	maxWait     = 60 * time.Second
)

// Poll answers with what topics have behind a cursor, and with the next cursor.
// While there is nothing it waits, on the request's goroutine: some kilobytes for
// each client, where an event stream on a loop takes hardly any. HEAD does not wait.
//
// It answers as soon as there is a message, a place is not covered, or a topic
// begins here that has no place yet: so that who loses the connection has one.
func (a *API) Poll(w http.ResponseWriter, r *http.Request) error {
	s, err := a.parsePoll(r)
	if err != nil {
		return err
	}
	claims, err := a.authorizeReader(r, s.Topics...)
	if err != nil {
		return err
	}
	s.until = claims.Until() // It is a subscription as long as it waits.
	if r.Method == http.MethodHead {
		s.wait = 0
	}
	p, err := a.poll(r.Context(), s)
	if err != nil {
		return err
	}
	return a.serveAnswer(w, r, func(ctx context.Context) *answer.Answer { return p.answer(ctx, s.limit) })
}

// A pollRequest asks for messages of topics. Its Latest means nothing.
type pollRequest struct {
	streamRequest
	wait  time.Duration
	until time.Time // when the wait is over in any case; zero: never
	limit int
}

func (a *API) parsePoll(r *http.Request) (s pollRequest, err error) {
	q, err := a.query(r, "since", "last", "wait", "limit")
	if err != nil {
		return pollRequest{}, err
	}
	if s.streamRequest, err = a.parseResumePoints(q, r.Header); err != nil {
		return pollRequest{}, err
	}
	if s.limit, err = parseNumber(q, "limit", maxMessages, maxMessages); err != nil {
		return pollRequest{}, err
	}
	seconds, err := parseNumber(q, "wait", int(defaultWait/time.Second), int(maxWait/time.Second))
	s.wait = time.Duration(seconds) * time.Second
	return s, err
}

// A poll is one request while it is answered. It listens to its topics before it
// reads them, so that no message falls between.
type poll struct {
	// Owned by the request's goroutine.
	topics    *topic.Topics
	joined    []*topic.Topic
	resumed   []topic.Resumed // of topics; they move on as messages are taken
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

// poll returns what there is to answer, once there is something or the wait is over.
func (a *API) poll(ctx context.Context, s pollRequest) (*poll, error) {
	p := &poll{topics: a.topics, recovered: true, news: make(waker, 1)}
	defer p.unsubscribe()
	for i, topic := range s.Topics {
		if err := p.subscribe(topic, s.ResumePoints[i]); err != nil {
			return nil, err
		}
	}
	if !p.due && s.wait > 0 {
		if err := a.await(ctx, p.news, s.wait, s.until); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *poll) subscribe(name notiflux.Topic, point topic.ResumePoint) error {
	t, resumed, err := p.topics.Join(name, p.news, point)
	if err != nil {
		return err
	}
	p.joined, p.resumed = append(p.joined, t), append(p.resumed, resumed)
	p.recovered = p.recovered && resumed.Recovered
	p.due = p.due || resumed.Replay > 0 || !resumed.Recovered || point.Since.Epoch == ""
	return nil
}

func (p *poll) unsubscribe() {
	for _, t := range p.joined {
		p.topics.Leave(t, p.news)
	}
}

// untilEvery is how often a poll that waits compares the end of its token with the
// wall clock: timers run by the monotonic clock, and do not notice that the wall
// clock is set forward.
const untilEvery = 5 * time.Second

// await waits for news, not longer than wait, and not beyond until. It takes a place among the
// connections, and fails if there is none. Who is gone, or has only ended its own
// side of the connection, is answered like one whose time is over.
func (a *API) await(ctx context.Context, news waker, wait time.Duration, until time.Time) error {
	if isClosed(a.draining) { // No poll takes a slot any more.
		return nil
	}
	if err := a.clients.slots.Acquire(); err != nil {
		return err
	}
	defer a.clients.slots.Release()
	over := time.NewTimer(wait)
	defer over.Stop()
	ended := time.NewTimer(a.untilClockCheck(wait, until))
	defer ended.Stop()
	for {
		select {
		case <-news:
		case <-over.C:
		case <-a.draining:
		case <-ctx.Done():
		case <-ended.C:
			if !until.IsZero() && a.now().Before(until) {
				ended.Reset(a.untilClockCheck(wait, until))
				continue
			}
		}
		return nil
	}
}

// untilClockCheck returns when to look next whether until has come; zero comes after wait.
func (a *API) untilClockCheck(wait time.Duration, until time.Time) time.Duration {
	if until.IsZero() {
		return wait
	}
	return min(until.Sub(a.now()), untilEvery)
}

// answer takes what fits, and says where it ends. The topics come in the order asked
// for. If a topic would get nothing that way although it has messages, those come first
// whose messages wait longest: so no topic starves beside busy ones.
func (p *poll) answer(ctx context.Context, limit int) *answer.Answer {
	order := make([]int, len(p.joined))
	for i := range order {
		order[i] = i
	}
	messages, resumed, missed := p.take(ctx, limit, order)
	if missed && limit > 0 {
		slices.SortStableFunc(order, func(i, j int) int {
			return longestWaiting(answer.Message(p.resumed[i].Cursor), answer.Message(p.resumed[j].Cursor))
		})
		messages, resumed, _ = p.take(ctx, limit, order)
	}
	p.resumed = resumed
	more := slices.ContainsFunc(resumed, func(resumed topic.Resumed) bool { return !resumed.Cursor.AtTail() })
	return messages.Answer(wire.AppendPollStart(nil, p.streamCursor(), p.recovered), append(wire.AppendPollEnd(nil, more), '\n'))
}

// take takes what fits, in an order of the topics, and returns their places after
// that. missed says that a topic has messages and got none.
func (p *poll) take(ctx context.Context, limit int, order []int) (messages *answer.Messages, resumed []topic.Resumed, missed bool) {
	messages, resumed = answer.UpTo(limit), slices.Clone(p.resumed)
	for _, i := range order {
		resumed := &resumed[i]
		next, n := messages.Take(ctx, p.joined[i], resumed.Cursor, maxMessages)
		if n > 0 {
			resumed.Cursor, resumed.Position.Offset = next, next.Offset()
		}
		missed = missed || n == 0 && !next.AtTail()
	}
	return messages, resumed, missed
}

// longestWaiting orders messages by when they were ordered; nil is last.
func longestWaiting(a, b *notiflux.Message) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return 1
	case b == nil:
		return -1
	}
	return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Position.Offset, b.Position.Offset))
}

// streamCursor returns the places as a cursor: in the order of the topics' names.
func (p *poll) streamCursor() []byte {
	order := make([]int, len(p.joined))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(p.joined[a].Name(), p.joined[b].Name()) })
	offsets := make([]wire.CursorOffset, len(order))
	for i, j := range order {
		offsets[i] = wire.CursorOffset{Hash: wire.TopicHash(p.joined[j].Name()), Offset: p.resumed[j].Position.Offset}
	}
	return wire.AppendStreamCursor(nil, p.resumed[0].Position.Epoch, offsets)
}
