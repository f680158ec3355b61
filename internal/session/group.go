// Package session is one connected client: its commands in, its messages out.
//
// A [Session] is told each message of its client, parses it as a command, has
// tokens judged off the loop, and subscribes to topics. A subscription is a
// cursor over the topic's log. When a topic has news, the [Group] of the loop
// marks its sessions dirty, and each is asked for bytes: what is between its
// cursors and the tails, in frames that are encoded once for everyone.
//
// A session knows no socket, no goroutine and no lock: its loop calls it, one
// call at a time. What it asks of its connection is [Conn].
//
// Invariants: per topic, a session is given offsets in order, each once. A
// command takes effect, and is answered, before the next one is looked at. Answers
// go ahead of messages. What a socket did not take is a cursor, never a copy.
package session

import (
	"cmp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/hub"
	"github.com/ikornaselur/notiflux/internal/topiclog"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// Config holds what all sessions share. Zero limits take the defaults of
// docs/protocol.md, section 6.
type Config struct {
	Hub      *hub.Hub
	Verifier Verifier
	Queue    Queue

	MaxTopics    int     // per session
	MaxLagBytes  uint64  // what a session may keep in memory that its logs no longer hold
	CommandRate  float64 // per second, in the long run
	CommandBurst float64 // at once

	Stats *Stats // nil: not counted
}

// A Verifier knows tokens that were verified before and still hold.
type Verifier interface {
	Cached(auth.Token) (*auth.Claims, bool)
}

// A Queue verifies tokens off the loop. Submit reports whether there was room;
// if so, done is called once, on any goroutine.
type Queue interface {
	Submit(token auth.Token, done func(*auth.Claims, error)) bool
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
}

const (
	defaultMaxTopics    = 1000
	defaultMaxLagBytes  = 1 << 20
	defaultCommandRate  = 100
	defaultCommandBurst = 1000
)

// A Group is the sessions of one loop. All methods are for that loop's goroutine.
type Group struct {
	// Immutable after NewGroup.
	config Config
	loop   Loop
	start  time.Time

	// Owned by the loop.
	sessions map[*Session]struct{}
	feeds    map[notiflux.Topic]*feed
	batches  batches
	pulled   pull

	mu    sync.Mutex
	woken []*feed // topics with news, each once

	spare []*feed // owned by the loop: the last woken
}

// A feed is the group's interest in one topic.
type feed struct {
	group  *Group
	topic  *hub.Topic
	subs   []*subscription // owned by the loop
	queued atomic.Bool     // in Group.woken
}

// A subscription is one session's place in one topic.
type subscription struct {
	session   *Session
	feed      *feed
	cursor    topiclog.Cursor
	nextDirty *subscription
	index     int  // in feed.subs
	dirty     bool // in the session's list of what it has to read
}

// NewGroup returns the group of a loop, without sessions.
func NewGroup(c Config, loop Loop) *Group {
	c.MaxTopics = cmp.Or(c.MaxTopics, defaultMaxTopics)
	c.MaxLagBytes = cmp.Or(c.MaxLagBytes, defaultMaxLagBytes)
	c.CommandRate = cmp.Or(c.CommandRate, defaultCommandRate)
	c.CommandBurst = cmp.Or(c.CommandBurst, defaultCommandBurst)
	if c.Stats == nil {
		c.Stats = new(Stats)
	}
	return &Group{
		config:   c,
		loop:     loop,
		start:    time.Now(),
		sessions: make(map[*Session]struct{}),
		feeds:    make(map[notiflux.Topic]*feed),
	}
}

// Wake implements [hub.Listener]: publishers call it.
func (f *feed) Wake() {
	if f.queued.Swap(true) {
		return
	}
	g := f.group
	g.mu.Lock()
	g.woken = append(g.woken, f)
	first := len(g.woken) == 1
	g.mu.Unlock()
	if first {
		g.loop.Wake()
	}
}

// Collect marks every session dirty that has something to read in a topic with
// news. The loop calls it once a turn.
func (g *Group) Collect() {
	g.mu.Lock()
	woken := g.woken
	g.woken = g.spare[:0]
	g.mu.Unlock()
	g.batches.forget()
	for i, f := range woken {
		woken[i] = nil
		f.queued.Store(false) // Before the cursors are looked at: what comes later wakes again.
		for _, sub := range f.subs {
			sub.session.markDirty(sub)
		}
	}
	g.spare = woken
}

// Drain has every session delivered what it subscribed to so far and then
// closed with code, each at a time of its own within spread.
func (g *Group) Drain(code wire.CloseCode, reason string, spread time.Duration) {
	n, i := len(g.sessions), 0
	for s := range g.sessions {
		time.AfterFunc(spread*time.Duration(i)/time.Duration(n), func() {
			g.loop.Post(func() { s.drain(code, reason) })
		})
		i++
	}
}

// join subscribes s to a topic from now on.
func (g *Group) join(s *Session, name notiflux.Topic) error {
	f := g.feeds[name]
	sub := &subscription{session: s}
	if f == nil {
		f = &feed{group: g}
		topic, place, err := g.config.Hub.Join(name, f, hub.Start{})
		if err != nil {
			return err
		}
		f.topic, sub.cursor = topic, place.Cursor
		g.feeds[f.topic.Name()] = f
	} else {
		sub.cursor = g.config.Hub.Place(f.topic, hub.Start{}).Cursor
	}
	sub.feed, sub.index = f, len(f.subs)
	f.subs = append(f.subs, sub)
	s.subs = append(s.subs, sub)
	g.config.Stats.Subscriptions.Add(1)
	return nil
}

// leave ends a subscription; the session takes it off its own lists.
func (g *Group) leave(sub *subscription) {
	f := sub.feed
	last := len(f.subs) - 1
	f.subs[sub.index] = f.subs[last]
	f.subs[sub.index].index = sub.index
	f.subs[last] = nil
	f.subs = f.subs[:last]
	g.config.Stats.Subscriptions.Add(-1)
	if last == 0 {
		delete(g.feeds, f.topic.Name())
		g.config.Hub.Leave(f.topic, f)
	}
}
