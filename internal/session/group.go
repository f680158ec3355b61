// Package session holds the connected clients: it executes their commands and delivers
// their messages.
//
// A [Session] does not know which dialect (protocol) its client speaks. It passes each
// message of the client to its [Dialect], which calls methods of the session and queues the
// answers (dialect.go holds the contract). Worker goroutines verify tokens. A subscription
// is a cursor in the topic's log of recent messages. The cursor is at the tail of the log
// for live messages, and further back for messages that the client missed. When a topic
// gets messages, the [Group] of the loop marks the sessions of its subscribers dirty. The
// connection of each dirty session then asks it for bytes ([Session.Next]): the messages
// between its cursors and the tails, in frames that are encoded once for all sessions.
// [Session.Wrote] moves the cursors past the bytes that the socket took.
//
// A session has no socket, no goroutine and no lock. Its loop makes one call at a time. The
// session uses its connection through [Conn].
//
// Invariants:
//   - A session delivers each offset of a topic once, in order.
//   - A command takes effect and is answered before the next one is parsed.
//   - If answers and messages wait to be written, the answers go first. Messages of a topic
//     come only between the answer that begins its subscription and the one that ends it.
//   - A cursor represents the messages that are not yet written. At most the rest of one frame
//     is copied.
//
// The package does not verify signatures, order messages or track presence. It uses
// packages auth, broker and presence for that.
package session

import (
	"cmp"
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/fanout"
	"github.com/ikornaselur/notiflux/internal/format"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// Config configures the sessions of a server. The default of each limit is in
// docs/protocol.md, section 6.
type Config struct {
	Topics        *topic.Topics
	Broker        Broker
	Attacher      *broker.Attacher // of the same broker
	Members       broker.Roster    // who is present in a topic
	Verifier      Verifier
	Revoked       Revoked      // asked for each command with a token, and once more when a subscription begins; nil: no token is revoked
	VerifyWorkers auth.Workers // for verifying signatures
	WaitWorkers   auth.Workers // for work that may block, such as reads from the broker

	Endpoints []*Endpoint // of all dialects; at most 100
	Limits
	// Each counts a command, and returns an error if its address or user may send no more; nil: no limit.
	AddressCommand func(Conn) error
	UserCommand    func(Conn, *auth.Claims) (End, error) // and how the session ends

	Now                   func() time.Time // wall clock; nil: time.Now
	Random                *rand.Rand       // for connection names and random delays; used only on the loop; nil: seeded by the system
	Unread                Budget           // limits unread bytes of authenticated clients; nil: no limit
	UnauthenticatedUnread Budget           // limits unread bytes of clients without a valid token; nil: no limit
	Stats                 *Stats           // nil: nothing is counted
	Log                   *slog.Logger     // nil: log lines are discarded
}

// Limits are the limits of a session. Zero means the default. Dialects report some of them
// to clients.
type Limits = wire.Limits

// A Broker orders messages and stores them; see package broker.
type Broker interface {
	Publish(ps []pubsub.Publication, done func()) (finished bool)
	History(ctx context.Context, name pubsub.Topic, since pubsub.Position, limit int) (topic.History, error)
}

// A Verifier verifies tokens; see [auth.Verifier].
type Verifier interface {
	Cached(auth.Token) (*auth.Claims, bool) // returns the claims of a token that was verified before and is still valid
	Start(workers auth.Workers, t auth.Token, remote string, done func(*auth.Claims, error)) error
	Check(*auth.Claims) error // returns nil if the claims of a verified token are still valid
	Anonymous() *auth.Claims  // returns the claims of clients without a token; nil: they may do nothing
}

// A Loop is the event loop that owns the sessions of a group. Post runs f on the loop. Wake
// makes the loop call [Group.Collect].
type Loop interface {
	Post(f func()) bool
	Wake()
}

// Stats are the counters of the sessions of all groups.
type Stats struct {
	Sessions, Subscriptions      atomic.Int64 // current numbers
	Delivered, Commands, Refused atomic.Uint64
	Broadcasts                   wire.Outcomes
}

// A Group holds the sessions of one loop. Only that loop calls its methods.
type Group struct {
	// Immutable after NewGroup.
	config   Config
	loop     Loop
	start    time.Time
	interval time.Duration   // between two commands, in the long run
	formats  []format.Format // two for each of config.Endpoints
	burst    time.Duration   // time after which a silent session may send Limits.CommandBurst commands again

	// Owned by the loop.
	sessions    []*Session // in no particular order, but the same calls give the same order
	subscribers map[pubsub.Topic]*topicSubscribers
	batches     topic.Batches
	expiries    auth.Expiries[*subscription] // at the time `until` of their tokens
	write       write
	draining    bool

	skips          map[*subscription]skip  // in mode latest
	postponed      map[*Session][]func()   // see WhenFree
	attaching      map[*Session]*attaching // sessions that wait for the broker
	spareAttaching *attaching              // for reuse; nil: in use

	woken fanout.Queue[*subscription] // topics with new messages
}

// NewGroup returns the group of a loop, without sessions.
func NewGroup(c Config, loop Loop) *Group {
	c.Limits = c.Limits.OrDefaults()
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Random = cmp.Or(c.Random, rand.New(systemRandom{}))
	c.Unread = cmp.Or[Budget](c.Unread, wire.NoBudget{})
	c.UnauthenticatedUnread = cmp.Or[Budget](c.UnauthenticatedUnread, wire.NoBudget{})
	c.Stats = cmp.Or(c.Stats, new(Stats))
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	g := &Group{
		config:      c,
		loop:        loop,
		start:       time.Now(),
		woken:       fanout.Queue[*subscription]{WakeLoop: loop.Wake, Mark: mark},
		interval:    time.Duration(float64(time.Second) / c.CommandRate),
		burst:       time.Duration(float64(time.Second) * c.CommandBurst / c.CommandRate),
		subscribers: make(map[pubsub.Topic]*topicSubscribers),
		skips:       make(map[*subscription]skip),
		postponed:   make(map[*Session][]func()),
		attaching:   make(map[*Session]*attaching),
		formats:     newFormats(c.Endpoints),
	}
	g.expiries = auth.Expiries[*subscription]{Now: c.Now, Post: loop.Post, End: g.expireWith}
	return g
}

// now returns the time since the group was created.
func (g *Group) now() time.Duration { return time.Since(g.start) }

// Collect marks sessions dirty that have unread messages in a woken topic; see
// [fanout.Queue.Collect]. The loop calls it at least once per turn.
func (g *Group) Collect() (more bool) {
	g.batches.Reset()
	return g.woken.Collect()
}

// mark marks the sessions of subscriptions dirty that have unread messages.
func mark(subs []*subscription) {
	for _, sub := range slices.Backward(subs) {
		if !sub.cursor.AtTail() {
			sub.session.subs.markDirty(sub)
		}
	}
}

// Drain delivers all messages published so far to every session and then closes it, at
// times spread evenly over spread. Sessions that are added later are closed at once.
func (g *Group) Drain(spread time.Duration) {
	g.draining = true
	n := len(g.sessions)
	for i, s := range g.sessions {
		time.AfterFunc(spread*time.Duration(i)/time.Duration(n), func() {
			s.conn.Post(s.drain)
		})
	}
}

// remove removes a session from the group.
func (g *Group) remove(s *Session) {
	last := len(g.sessions) - 1
	g.sessions[s.index] = g.sessions[last]
	g.sessions[s.index].index = s.index
	g.sessions[last] = nil
	g.sessions = g.sessions[:last]
}

// subscribe subscribes s to a topic at a pin, which ends. since: the client gave its position.
func (g *Group) subscribe(s *Session, name pubsub.Topic, pin topic.Pin, since bool) (*subscription, topic.Resumed) {
	t := g.subscribers[name]
	var resumed topic.Resumed
	if t == nil {
		t = new(topicSubscribers)
		t.Queue = &g.woken
		t.topic, resumed = pin.Join(t)
		g.subscribers[t.topic.Name()] = t
	} else {
		_, resumed = pin.Take()
	}
	sub := &subscription{session: s, subscribers: t, cursor: resumed.Cursor}
	sub.set(asked, since)
	resumed = ensureOverlap(s, name).Join(sub, name, &sub.cursor, resumed, since)
	sub.index = t.Add(sub)
	s.subs.all = append(s.subs.all, sub)
	t.topic.Count(1)
	g.config.Stats.Subscriptions.Add(1)
	if !sub.cursor.AtTail() {
		s.subs.markDirty(sub)
	}
	return sub, resumed
}

// unsubscribe ends a subscription. The caller removes it from the lists of its session.
func (g *Group) unsubscribe(sub *subscription) {
	t := sub.subscribers
	t.Remove(sub.index).index = sub.index
	t.topic.Count(-1)
	g.config.Stats.Subscriptions.Add(-1)
	g.expiries.Set(sub, time.Time{})
	sub.session.extra.overlapping().Remove(t.topic.Name(), sub.delivered())
	delete(g.skips, sub)
	if len(t.All()) == 0 {
		g.batches.Reset() // Collect may not run again: the topic no longer wakes this loop.
		delete(g.subscribers, t.topic.Name())
		g.config.Topics.Leave(t.topic, t)
	}
}

// systemRandom is the random source of package math/rand, seeded by the system.
type systemRandom struct{}

func (systemRandom) Uint64() uint64 { return rand.Uint64() }
