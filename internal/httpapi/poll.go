package httpapi

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/ikornaselur/notiflux/internal/answer"
	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// How long a poll waits: docs/protocol.md, section 6. Most proxies give up after
// 60 s, some after 30.
const (
	defaultWait = 25 * time.Second
	maxWait     = 60 * time.Second
)

// Poll answers GET /poll with the messages of topics after a cursor, and with the next
// cursor. While there are none, it waits on the goroutine of the request, which takes
// some kilobytes for each client; a stream on a loop takes hardly any. HEAD does not
// wait.
//
// Poll answers at once if there is a message, if a resume point is not covered, or if
// a topic has no resume point: the client needs a cursor in case it loses the
// connection.
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
	p, err := a.poll(r.Context(), claims, s)
	if err != nil {
		return err
	}
	return a.serveAnswer(w, r, func(ctx context.Context) *answer.Answer { return p.answer(ctx, s.limit) })
}

// A pollRequest asks for messages of topics. Latest is not used.
type pollRequest struct {
	streamRequest
	wait  time.Duration
	until time.Time // ends the wait; zero: never
	limit int       // of messages
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

// A poll is one request while it is answered. It joins its topics before it reads
// them, so that it misses no message in between.
type poll struct {
	// Owned by the request's goroutine.
	topics    *topic.Topics
	joined    []*topic.Topic
	since     []pubsub.Position // where the client wanted to resume each of joined; without an epoch: nowhere
	resumed   []topic.Resumed   // where each of joined is read from; moves on as messages are taken
	recovered bool
	due       bool // answer without waiting

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

// poll returns the poll to answer, once there is a message or the wait is over.
func (a *API) poll(ctx context.Context, claims *auth.Claims, s pollRequest) (*poll, error) {
	subs := s.subscriptions()
	pins, err := a.attach(ctx, claims, subs)
	if err != nil {
		return nil, err
	}
	p := &poll{topics: a.config.Topics, recovered: true, news: make(waker, 1)}
	defer p.unsubscribe()
	for i := range pins {
		p.join(&pins[i], subs[i].From)
	}
	if !p.due && s.wait > 0 {
		if err := a.await(ctx, p.news, s.wait, s.until); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// join joins a topic at a pin for a resume point, which ends.
func (p *poll) join(pin *topic.Pin, from topic.ResumePoint) {
	t, resumed := pin.Join(p.news)
	p.joined, p.since, p.resumed = append(p.joined, t), append(p.since, from.Since), append(p.resumed, resumed)
	p.recovered = p.recovered && resumed.Recovered
	p.due = p.due || resumed.Replay > 0 || !resumed.Recovered || from.Since.Epoch == ""
}

func (p *poll) unsubscribe() {
	for _, t := range p.joined {
		p.topics.Leave(t, p.news)
	}
}

// untilEvery is how often a poll that waits compares the end of its token with the
// wall clock. Timers run by the monotonic clock: they do not notice when the wall
// clock is set forward.
const untilEvery = 5 * time.Second

// await waits for news, not longer than wait and not beyond until. It takes a slot
// among the clients, and fails if there is none. If the client has gone, or has ended
// its own side of the connection, await returns as if the time were over.
func (a *API) await(ctx context.Context, news waker, wait time.Duration, until time.Time) error {
	if isClosed(a.config.Draining) { // No poll takes a slot any more.
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
		case <-a.config.Draining:
		case <-ctx.Done():
		case <-ended.C:
			if !until.IsZero() && a.config.Now().Before(until) {
				ended.Reset(a.untilClockCheck(wait, until))
				continue
			}
		}
		return nil
	}
}

// untilClockCheck returns how long to wait before comparing until with the wall clock again.
// If until is zero, that is not before wait is over.
func (a *API) untilClockCheck(wait time.Duration, until time.Time) time.Duration {
	if until.IsZero() {
		return wait
	}
	return min(until.Sub(a.config.Now()), untilEvery)
}

// answer takes the messages that fit, and says where they end. The topics come in the
// order of the request. If that leaves out a topic that has messages, the topics whose
// messages have waited longest come first, so that no topic starves beside busy ones.
//
// A topic that met a marker before its next message goes on from its head.
func (p *poll) answer(ctx context.Context, limit int) *answer.Answer {
	for i := range p.resumed {
		if skipMarker(&p.resumed[i]) && p.since[i].Epoch != "" {
			p.recovered = false
		}
	}
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
	more := slices.ContainsFunc(resumed, func(r topic.Resumed) bool { return !r.Cursor.AtTail() })
	return messages.Answer(wire.AppendPollStart(nil, p.streamCursor(), p.recovered), append(wire.AppendPollEnd(nil, more), '\n'))
}

// skipMarker moves r to the head of its topic if it is at a marker, and reports whether it
// was: messages are missing there.
func skipMarker(r *topic.Resumed) bool {
	entry, _, ok := r.Cursor.Next()
	if !ok || !entry.IsMarker() {
		return false
	}
	for ok {
		_, r.Cursor, ok = r.Cursor.Next()
	}
	r.Position = r.Cursor.Position()
	return true
}

// take takes the messages that fit, from the topics in the given order, and returns
// where each topic is read from after that. missed says that a topic has messages and
// none of them fitted.
func (p *poll) take(ctx context.Context, limit int, order []int) (messages *answer.Messages, resumed []topic.Resumed, missed bool) {
	messages, resumed = answer.UpTo(limit), slices.Clone(p.resumed)
	for _, i := range order {
		r := &resumed[i]
		next, n := messages.Take(ctx, p.joined[i], r.Cursor, maxMessages)
		if n > 0 {
			r.Cursor, r.Position = next, next.Position()
		}
		missed = missed || n == 0 && !next.AtTail()
	}
	return messages, resumed, missed
}

// longestWaiting compares messages by the time when they were ordered. Nil is last.
func longestWaiting(a, b *pubsub.Message) int {
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

// streamCursor returns the stream cursor of the poll, in the order of the topics' names.
func (p *poll) streamCursor() []byte {
	order := make([]int, len(p.joined))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(p.joined[a].Name(), p.joined[b].Name()) })
	places := make([]wire.CursorPlace, len(order))
	for i, j := range order {
		places[i] = wire.CursorPlace{Hash: wire.TopicHash(p.joined[j].Name()), Position: p.resumed[j].Position}
	}
	return wire.AppendStreamCursor(nil, places)
}
