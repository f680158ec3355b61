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
	"github.com/ikornaselur/notiflux/internal/reading"
	"github.com/ikornaselur/notiflux/internal/router"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// Poll answers GET and POST /poll with the messages of its topics after a resume point, and
// with the next cursor. If there are no messages, it waits on the request's goroutine, which
// takes several kilobytes per client; a stream on a loop takes almost none. HEAD does not
// wait.
//
// Poll answers at once if there is a message, if a resume point is not covered, or if a
// topic has no resume point. In the last case, the client needs a cursor in case its
// connection breaks.
func (a *API) Poll(w http.ResponseWriter, r *http.Request) error {
	s, token, err := a.parsePoll(w, r)
	if err != nil {
		return err
	}
	claims, err := a.authorizeReader(r, token, s.Topics...)
	if err != nil {
		return err
	}
	if r.Method == http.MethodHead {
		s.wait = 0
	}
	s.remote = r.RemoteAddr
	p, err := a.poll(r.Context(), claims, s)
	if err != nil {
		return err
	}
	return a.serveAnswer(w, r, func(ctx context.Context) *answer.Answer { return p.answer(ctx, s) })
}

// A pollRequest asks for messages of topics. Its Latest is unused.
type pollRequest struct {
	reading.Request
	wait   time.Duration
	limit  int  // of messages
	places bool // the answer says where it begins in each topic
	remote string
}

// parsePoll returns what a request asks for, and the token of its body, if any.
func (a *API) parsePoll(w http.ResponseWriter, r *http.Request) (s pollRequest, token auth.Token, err error) {
	if r.Method == http.MethodPost {
		p, err := a.parsePosted(w, r)
		wait := time.Duration(p.Wait) * time.Second
		return pollRequest{Request: p.Request, wait: wait, limit: p.Limit, places: true}, auth.Token(p.Token), err
	}
	q, err := a.query(r, "since", "last", "wait", "limit")
	if err != nil {
		return pollRequest{}, "", err
	}
	if s.Request, err = reading.FromQuery(q, r.Header); err != nil {
		return pollRequest{}, "", err
	}
	if s.limit, err = reading.Number(q, "limit", reading.MaxMessages, reading.MaxMessages); err != nil {
		return pollRequest{}, "", err
	}
	seconds, err := reading.Number(q, "wait", reading.DefaultWait, reading.MaxWait)
	s.wait = time.Duration(seconds) * time.Second
	return s, "", err
}

// A poll is one request in progress. It joins its topics before it reads them, so that it
// misses no message in between.
type poll struct {
	// Owned by the request's goroutine.
	topics    *topic.Topics
	joined    []*topic.Topic
	since     []pubsub.Position // the resume point of each of joined; without an epoch: none
	resumed   []topic.Resumed   // where to read each of joined; moves as messages are taken
	recovered bool
	due       bool // answer without waiting

	news waker
}

// A waker is a listener that remembers a call of Wake.
type waker chan struct{}

// Wake does not block.
func (w waker) Wake() {
	select {
	case w <- struct{}{}:
	default:
	}
}

// poll returns the poll to answer when there is a message or the wait is over.
func (a *API) poll(ctx context.Context, claims *auth.Claims, s pollRequest) (*poll, error) {
	subs := subscriptions(s.Request)
	pins, err := a.attach(ctx, claims, subs)
	if err != nil {
		return nil, err
	}
	p := &poll{topics: a.config.Topics, recovered: true, news: make(waker, 1)}
	defer p.unsubscribe()
	for i := range pins {
		p.join(&pins[i], subs[i].From)
	}
	request, err := a.config.Control.Begin(claims, s.Topics) // It counts as a subscription.
	if err != nil {
		return nil, router.WithDetail(err, "topic", joined(s.Topics), "subject", claims.Subject)
	}
	defer a.config.Control.End(request)
	if !p.due && s.wait > 0 {
		if err := a.await(ctx, p.news, s, claims, request.Ended()); err != nil {
			return nil, router.WithDetail(err, "topic", joined(s.Topics), "subject", claims.Subject)
		}
	}
	return p, nil
}

// join joins a topic at a pin, which it releases.
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

// untilEvery is how often a waiting poll compares the time of the claim until with the wall
// clock. Timers use the monotonic clock, which does not change when the wall clock is set.
const untilEvery = 5 * time.Second

// await waits for news, for at most s.wait and not beyond the claim until, and fails with an error from
// ended. It takes a client slot while
// it waits, and fails if none is free. If the client disconnects, or closes its own side of
// the connection, await returns as if the time were over.
func (a *API) await(ctx context.Context, news waker, s pollRequest, claims *auth.Claims, ended <-chan error) error {
	if isClosed(a.config.Draining) { // polls take no more slots
		return nil
	}
	place, err := a.clients.Enter(s.remote, claims)
	if err != nil {
		return err
	}
	defer place.Leave()
	wait, until := s.wait, claims.Until()
	over := time.NewTimer(wait)
	defer over.Stop()
	clock := time.NewTimer(a.untilClockCheck(wait, until))
	defer clock.Stop()
	for {
		select {
		case <-news:
		case <-over.C:
		case <-a.config.Draining:
		case <-ctx.Done():
		case err := <-ended:
			return err
		case <-clock.C:
			if !until.IsZero() && a.config.Now().Before(until) {
				clock.Reset(a.untilClockCheck(wait, until))
				continue
			}
		}
		return nil
	}
}

// untilClockCheck returns the time before until is compared with the wall clock again. If
// until is zero, that is wait.
func (a *API) untilClockCheck(wait time.Duration, until time.Time) time.Duration {
	if until.IsZero() {
		return wait
	}
	return min(until.Sub(a.config.Now()), untilEvery)
}

// answer takes the messages that fit, and says where they end. It takes topics in the order
// of the request. If that would leave out a topic that has messages, it begins with the
// topic whose next message is the oldest, so that busy topics do not starve others.
//
// If a marker precedes the next message of a topic, the topic continues from its head.
func (p *poll) answer(ctx context.Context, s pollRequest) *answer.Answer {
	for i := range p.resumed {
		r := &p.resumed[i]
		if skipMarker(r) && p.since[i].Epoch != "" {
			p.recovered, r.Recovered = false, false
		}
	}
	order := make([]int, len(p.joined))
	for i := range order {
		order[i] = i
	}
	messages, resumed, missed := p.take(ctx, s.limit, order)
	if missed && s.limit > 0 {
		slices.SortStableFunc(order, func(i, j int) int {
			return longestWaiting(answer.Message(p.resumed[i].Cursor), answer.Message(p.resumed[j].Cursor))
		})
		messages, resumed, _ = p.take(ctx, s.limit, order)
	}
	var places []wire.SubscribedTopic
	if s.places {
		places = p.places(resumed)
	}
	p.resumed = resumed
	more := slices.ContainsFunc(resumed, func(r topic.Resumed) bool { return !r.Cursor.AtTail() })
	return messages.Answer(wire.AppendPollStart(nil, p.streamCursor(), p.recovered, places), append(wire.AppendPollEnd(nil, more), '\n'))
}

// places returns where the answer begins in each topic, and how many messages of the topic it
// contains. end is where each topic continues.
func (p *poll) places(end []topic.Resumed) []wire.SubscribedTopic {
	places := make([]wire.SubscribedTopic, len(p.joined))
	for i, begin := range p.resumed {
		places[i] = wire.SubscribedTopic{Topic: p.joined[i].Name(), Position: begin.Position, Recovered: begin.Recovered, Replay: end[i].Replay}
	}
	return places
}

// skipMarker moves r to the head of its topic if r is at a marker, where messages are
// missing. It reports whether it did.
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

// take takes the messages that fit from the topics in the given order, and returns where
// each topic continues, with the number of its messages in Replay. missed means that some
// topic has messages but none of them fit.
func (p *poll) take(ctx context.Context, limit int, order []int) (messages *answer.Messages, resumed []topic.Resumed, missed bool) {
	messages, resumed = answer.UpTo(limit), slices.Clone(p.resumed)
	for _, i := range order {
		r := &resumed[i]
		next, n := messages.Take(ctx, p.joined[i], r.Cursor, reading.MaxMessages)
		r.Replay = n
		if n > 0 {
			r.Cursor, r.Position = next, next.Position()
		}
		missed = missed || n == 0 && !next.AtTail()
	}
	return messages, resumed, missed
}

// longestWaiting compares messages by the time when they were ordered. Nil comes last.
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
