// Package session is one connected client: its commands in, its messages out.
//
// A [Session] is told each message of its client, parses it as a command of its
// dialect (text.go, json.go; an event stream, stream.go, has none), has tokens judged
// off the loop, and subscribes to topics. A subscription is a cursor over the
// topic's log: at the tail for what comes, further back for what the client missed.
// When a topic has news, the [Group] of the loop marks its sessions dirty, and each
// is asked for bytes: what is between its cursors and the tails, in frames that are
// encoded once for everyone.
//
// A session knows no socket, no goroutine and no lock: its loop calls it, one
// call at a time. What it asks of its connection is [Conn].
//
// Invariants: per topic, a session is given offsets in order, each once. A
// command takes effect, and is answered, before the next one is looked at. Answers
// go ahead of messages: nothing of a topic comes before the answer to its
// subscription, nothing after that to its end. What a socket did not take is a
// cursor, never a copy.
package session

import (
	"cmp"
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/presence"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
	"github.com/ikornaselur/notiflux/internal/worker"
)

// Config holds what all sessions share. Zero limits take the defaults of
// docs/protocol.md, section 6.
type Config struct {
	Topics        *topic.Topics
	Publisher     Publisher
	Presence      *presence.Registry
	Verifier      Verifier
	VerifyWorkers worker.Submitter // check signatures
	WaitWorkers   worker.Submitter // wait for the broker

	Version         string        // of the server, as clients are told
	PingEvery       time.Duration // as clients are told; the transport pings
	MaxMessageBytes int           // of what is published
	MaxCommandBytes int           // of what a client sends; the transport holds to it
	MaxTopics       int           // per session
	MaxLagBytes     uint64        // what a session may keep in memory that its logs no longer hold
	CommandRate     float64       // per second, in the long run
	CommandBurst    float64       // at once

	Now                   func() time.Time // the wall clock; nil: time.Now
	Random                *rand.Rand       // names connections and spreads what clients do; used on the loop only. Nil: seeded by the system
	Unread                Budget           // of what clients have not read; nil: no bound
	UnauthenticatedUnread Budget           // the same of those that have shown no valid token; nil: no bound
	Stats                 *Stats           // nil: not counted
	Log                   *slog.Logger     // nil discards
}

// A Publisher orders messages: the broker. It may wait.
type Publisher interface {
	Publish(ctx context.Context, ps []notiflux.Publication)
}

// A Verifier judges tokens.
type Verifier interface {
	Cached(auth.Token) (*auth.Claims, bool)  // of a token that was verified before and still holds
	Verify(auth.Token) (*auth.Claims, error) // expensive: not for the loop
	Check(*auth.Claims) error                // whether claims that were verified before still hold
}

// A Loop runs a function on the goroutine that owns the sessions, and wakes it
// to [Group.Collect].
type Loop interface {
	Post(f func()) bool
	Wake()
}

// Stats counts what the sessions of all groups did.
type Stats struct {
	Sessions, Subscriptions      atomic.Int64 // now
	Delivered, Commands, Refused atomic.Uint64
	Broadcasts                   BroadcastStats
}

// BroadcastStats counts broadcasts over connections, by how they were answered.
type BroadcastStats struct {
	Accepted atomic.Uint64
	Refused  atomic.Uint64 // the publisher's fault
	Failed   atomic.Uint64 // not the publisher's fault
}

const (
	defaultPingEvery       = 25 * time.Second
	defaultMaxMessageBytes = 64 << 10
	defaultMaxCommandBytes = 80 << 10
	defaultMaxTopics       = 1000
	defaultMaxLagBytes     = 1 << 20
	defaultCommandRate     = 100
	defaultCommandBurst    = 1000
)

// A Group is the sessions of one loop. All methods are for that loop's goroutine.
type Group struct {
	// Immutable after NewGroup.
	config Config
	loop   Loop
	start  time.Time

	// Owned by the loop.
	sessions    []*Session // in no order, but the same one whenever the same happens
	subscribers map[notiflux.Topic]*topicSubscribers
	parser      wire.JSONParser
	batches     batches
	expiries    expiries
	write       write
	draining    bool

	mu    sync.Mutex
	woken []*topicSubscribers // topics with news, each once

	// Owned by the loop.
	spare                     []*topicSubscribers // the last woken
	firstPending, lastPending *topicSubscribers   // whose subscriptions are being marked, in turns
}

// A topicSubscribers is the group's interest in one topic.
type topicSubscribers struct {
	group  *Group
	topic  *topic.Topic
	queued atomic.Bool // in Group.woken

	// Owned by the loop.
	subs      []*subscription
	hash      uint64            // wire.TopicHash; 0: no event stream has asked for it
	unmarked  int               // those before this index are to be marked, as the topic has news
	markAgain bool              // it has news again: all are to be marked, after those
	next      *topicSubscribers // in the list that begins with Group.firstPending
}

// A subscription is one session's place in one topic.
type subscription struct {
	session     *Session
	subscribers *topicSubscribers
	cursor      topic.Cursor
	nextDirty   *subscription
	skipped     uint64 // offset given before the messages that were skipped; if skipping
	index       int32  // in feed.subs
	cursorIndex uint8  // of the topic in the session's set; of event streams only
	dirty       bool   // in the session's list of what it has to read
	latest      bool   // when the session is behind, only the newest message counts
	skipping    bool   // messages were skipped, and the client is to be told before the next one
}

// NewGroup returns the group of a loop, without sessions.
func NewGroup(c Config, loop Loop) *Group {
	c.PingEvery = cmp.Or(c.PingEvery, defaultPingEvery)
	c.MaxMessageBytes = cmp.Or(c.MaxMessageBytes, defaultMaxMessageBytes)
	c.MaxCommandBytes = cmp.Or(c.MaxCommandBytes, defaultMaxCommandBytes)
	c.MaxTopics = cmp.Or(c.MaxTopics, defaultMaxTopics)
	c.MaxLagBytes = cmp.Or(c.MaxLagBytes, defaultMaxLagBytes)
	c.CommandRate = cmp.Or(c.CommandRate, defaultCommandRate)
	c.CommandBurst = cmp.Or(c.CommandBurst, defaultCommandBurst)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = rand.New(systemRandom{})
	}
	if c.Unread == nil {
		c.Unread = noBudget{}
	}
	if c.UnauthenticatedUnread == nil {
		c.UnauthenticatedUnread = noBudget{}
	}
	if c.Stats == nil {
		c.Stats = new(Stats)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Group{
		config:      c,
		loop:        loop,
		start:       time.Now(),
		subscribers: make(map[notiflux.Topic]*topicSubscribers),
	}
}

// Wake implements [topic.Listener]: publishers call it.
func (t *topicSubscribers) Wake() {
	if t.queued.Swap(true) {
		return
	}
	g := t.group
	g.mu.Lock()
	g.woken = append(g.woken, t)
	first := len(g.woken) == 1
	g.mu.Unlock()
	if first {
		g.loop.Wake()
	}
}

const (
	// maxMarked is how many subscriptions a call of Collect marks.
	maxMarked = 256
	// maxMarkedPerTopic is how many of one topic it marks before it is another's turn.
	maxMarkedPerTopic = 64
)

// Collect marks sessions dirty that have something to read in a topic with news, a
// part of them: topics take turns. It reports whether there are more. The loop calls
// it at least once a turn.
func (g *Group) Collect() (more bool) {
	g.batches.reset()
	g.takeWoken()
	for n := maxMarked; n > 0 && g.firstPending != nil; {
		t := g.firstPending
		if g.firstPending = t.next; g.firstPending == nil {
			g.lastPending = nil
		}
		t.next = nil
		n -= t.mark(min(n, maxMarkedPerTopic))
		if t.unmarked == 0 && t.markAgain {
			t.unmarked, t.markAgain = len(t.subs), false
		}
		if t.unmarked > 0 {
			g.pushPending(t)
		}
	}
	return g.firstPending != nil
}

// takeWoken lists topics that have news.
func (g *Group) takeWoken() {
	g.mu.Lock()
	woken := g.woken
	g.woken = g.spare[:0]
	g.mu.Unlock()
	for i, t := range woken {
		woken[i] = nil
		t.queued.Store(false) // Before the cursors are looked at: what comes later wakes again.
		if t.unmarked > 0 {
			t.markAgain = true
			continue
		}
		if t.unmarked = len(t.subs); t.unmarked > 0 {
			g.pushPending(t)
		}
	}
	g.spare = woken
}

// pushPending puts f behind the topics whose subscriptions are being marked.
func (g *Group) pushPending(t *topicSubscribers) {
	if g.lastPending == nil {
		g.firstPending = t
	} else {
		g.lastPending.next = t
	}
	g.lastPending = t
}

// mark marks the last n of the subscriptions that are left, and returns how many
// there were. It goes down because [Group.unsubscribe] moves the last subscription into the
// place of one that ends: so none gets out of its way.
func (t *topicSubscribers) mark(n int) int {
	t.unmarked = min(t.unmarked, len(t.subs))
	n = min(n, t.unmarked)
	for range n {
		t.unmarked--
		if sub := t.subs[t.unmarked]; !sub.cursor.AtTail() {
			sub.session.markDirty(sub)
		}
	}
	return n
}

// Drain has every session delivered what it subscribed to so far and then sent
// away, each at a time of its own within spread. Who comes later is sent away at once.
func (g *Group) Drain(spread time.Duration) {
	g.draining = true
	n := len(g.sessions)
	for i, s := range g.sessions {
		time.AfterFunc(spread*time.Duration(i)/time.Duration(n), func() {
			s.conn.Post(s.drain)
		})
	}
}

// remove takes a session off the list of all.
func (g *Group) remove(s *Session) {
	last := len(g.sessions) - 1
	g.sessions[s.index] = g.sessions[last]
	g.sessions[s.index].index = s.index
	g.sessions[last] = nil
	g.sessions = g.sessions[:last]
}

// subscribe subscribes s to a topic from point on, and returns where that leads.
func (g *Group) subscribe(s *Session, name notiflux.Topic, point topic.ResumePoint) (*subscription, topic.Resumed, error) {
	t := g.subscribers[name]
	point.Connection = s.connection()
	var resumed topic.Resumed
	if t == nil {
		t = &topicSubscribers{group: g}
		var err error
		if t.topic, resumed, err = g.config.Topics.Join(name, t, point); err != nil {
			return nil, resumed, err
		}
		g.subscribers[t.topic.Name()] = t
	} else {
		resumed = g.config.Topics.Resume(t.topic, point)
	}
	sub := &subscription{session: s, subscribers: t, cursor: resumed.Cursor, index: int32(len(t.subs))}
	t.subs = append(t.subs, sub)
	s.subs = append(s.subs, sub)
	t.topic.Count(1)
	g.config.Stats.Subscriptions.Add(1)
	if !sub.cursor.AtTail() {
		s.markDirty(sub)
	}
	return sub, resumed, nil
}

// unsubscribe ends a subscription; the session takes it off its own lists.
func (g *Group) unsubscribe(sub *subscription) {
	t := sub.subscribers
	last := int32(len(t.subs) - 1)
	t.subs[sub.index] = t.subs[last]
	t.subs[sub.index].index = sub.index
	t.subs[last] = nil
	t.subs = t.subs[:last]
	t.topic.Count(-1)
	g.config.Stats.Subscriptions.Add(-1)
	g.expireAt(sub, time.Time{})
	if last == 0 {
		g.batches.reset() // The topic wakes nobody here any more, so that Collect may not come.
		delete(g.subscribers, t.topic.Name())
		g.config.Topics.Leave(t.topic, t)
	}
}
