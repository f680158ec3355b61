// Package loop runs event loops. A [Loop] owns a set of connections. Only its goroutine
// touches them and everything reachable from them, so connections need no locks.
//
// A connection is a socket and a [Client], the state machine of its protocol. The loop
// passes received bytes to Client.Read. It pulls the bytes to write from Client.Next, and
// only while the socket accepts them. When a socket is full, unsent messages stay in their
// logs.
//
// Each turn of the loop has four steps: it reads sockets; it runs posted functions, and yields
// to publishers that are ready to run; it collects the connections that have something to write;
// and it writes. So messages that arrive together leave together.
//
// Invariants:
//   - Reading and writing each end after a few milliseconds. The rest waits for the next
//     turn.
//   - Connections that became ready because of received bytes or a posted function go
//     first, for at most half of the time for writing. The rest of that time is for
//     connections with work left from an earlier turn, and for those that Config.Collect
//     marks. Each call of Collect marks a few hundred.
//   - The calls of a Client never overlap.
//
// The package knows nothing about protocols or topics; those are behind Client and
// Config.Collect.
package loop

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// A Client is the state machine of one connection. Its loop makes one call at a time. Times
// are durations since the start of the loop, by the monotonic clock.
type Client interface {
	// Read handles bytes from the socket and returns how many it took. If it took fewer
	// than all, the loop offers the rest again after [Conn.Resume]. Read calls Resume
	// itself if it only yields to other connections. It may change p, but must not keep it.
	Read(p []byte, now time.Duration) int

	// ReadEnd reports that the peer has ended its sending side.
	ReadEnd()

	// Next returns bytes to write, or nil. They are valid until Wrote. Wrote follows at
	// once and reports how many of them the socket took.
	Next() []byte
	Wrote(n int)

	// Tick is called within a quarter of a second of the time set by [Conn.Arm] or returned
	// by the last Tick, and once a second while the socket accepts nothing. It returns the
	// time of the next Tick.
	Tick(now time.Duration) time.Duration

	// Gone reports that the socket is closed. It is the last call.
	Gone()
}

// Config configures a Loop. The zero value works.
type Config struct {
	Portable bool // serve every connection with goroutines, even where epoll is available

	// Collect marks some hundred connections dirty and reports whether more are left. The
	// loop calls it once per turn before writing, and again when the marked connections
	// have written, as long as there is time. Nil marks nothing.
	Collect func() (more bool)
	Closed  func() // called once when a connection passed to Serve has ended; nil does nothing
	Log     *slog.Logger
}

// A Loop owns connections. Create it with New, and call Run.
type Loop struct {
	// Immutable after New.
	config Config
	start  time.Time
	poller poller

	mu     sync.Mutex
	posts  []func() // functions that other goroutines posted
	awake  bool     // the poller was woken, and the loop has not looked at posts since
	closed bool     // Run has ended: posts are refused

	// Owned by the loop.
	now    time.Duration
	conns  map[*Conn]struct{}
	wheel  wheel
	spare  []func()
	adding net.Conn // connection that add is setting up; nil: none

	// Owned by the loop: connections that have something to write, or whose left bytes must
	// be read again.
	queues         [priorities]queue
	marking        priority      // priority that Dirty gives to a connection
	reading        *Conn         // connection whose client is in Read
	more           bool          // Collect has more to mark
	collectedFirst bool          // in this turn collected connections went before unfinished ones
	due            bool          // connections whose time has come wait for their tick
	until          time.Duration // end of the time for reading or writing
	work           int           // work done since the clock was last read
	late           bool          // the time was over when the clock was last read

	io     sync.WaitGroup // goroutines of portable sockets
	panics atomic.Uint64
}

const (
	// writesPerTurn limits the writes to one connection that has much to send.
	writesPerTurn = 4
	// blockedTick is the interval at which a blocked connection is checked.
	blockedTick = time.Second
)

// New returns a Loop without connections. If epoll is not available, New logs that and uses
// goroutines instead.
func New(c Config) *Loop {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Collect == nil {
		c.Collect = func() bool { return false }
	}
	if c.Closed == nil {
		c.Closed = func() {}
	}
	l := &Loop{config: c, start: time.Now(), conns: make(map[*Conn]struct{})}
	if c.Portable {
		l.poller = newSignals()
		return l
	}
	var err error
	if l.poller, err = newPoller(l); err != nil {
		c.Log.Warn("epoll is unavailable; connections are served by goroutines", "err", err)
		l.poller = newSignals()
	}
	return l
}

// Serve makes nc a connection of the loop, which then owns and closes it. early holds bytes
// that were already read from nc. client creates the state machine; it is called on the
// loop. Serve does not block. If the loop has ended, Serve closes nc and returns false.
func (l *Loop) Serve(nc net.Conn, early []byte, client func(c *Conn, now time.Duration) Client) bool {
	if l.Post(func() { l.add(nc, early, client) }) {
		return true
	}
	nc.Close() // No client exists that could report an error.
	l.config.Closed()
	return false
}

// Post calls f on the loop, after all functions posted before. It reports whether the loop
// still runs. Safe for concurrent use.
func (l *Loop) Post(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.posts = append(l.posts, f)
	l.wakeLocked()
	return true
}

// Wake makes the loop call Collect soon. Safe for concurrent use.
func (l *Loop) Wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wakeLocked()
}

func (l *Loop) wakeLocked() {
	if l.awake || l.closed {
		return
	}
	l.awake = true
	l.poller.wake()
}

// Panics returns how many connections ended because of a panic.
func (l *Loop) Panics() uint64 { return l.panics.Load() }

// Run serves connections until ctx ends, then drops those that are left. It starts two
// goroutines per portable socket, and returns when all have ended.
func (l *Loop) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, l.Wake)
	defer stop()
	for ctx.Err() == nil {
		l.park()
		l.turn()
	}
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.runPosts() // connections that were still being added
	for c := range l.conns {
		c.Drop()
	}
	l.io.Wait()
	l.poller.close()
	return nil
}

// park waits until there is something to do.
func (l *Loop) park() {
	if l.waiting() {
		return
	}
	timeout := time.Duration(-1)
	if len(l.conns) > 0 {
		timeout = max(0, l.wheel.next()-l.clock())
	}
	l.poller.wait(timeout)
}

func (l *Loop) turn() {
	l.now = l.clock()
	l.marking = urgent
	l.begin(l.now + urgentSlice)
	l.poller.take()
	l.runPosts()
	runtime.Gosched() // Publishers that wait for this processor run first: their messages leave in this turn.
	l.runPosts()
	l.serve()
	l.tickDue()
}

// tickDue calls Tick of connections whose time has come, for at most half a slice, because
// thousands may be due at the same moment.
func (l *Loop) tickDue() {
	l.begin(l.clock() + urgentSlice)
	for l.due = true; l.due && !l.outOfTime(); {
		c := l.wheel.due(l.now)
		if l.due = c != nil; l.due {
			l.work++
			l.tick(c)
		}
	}
}

func (l *Loop) clock() time.Duration { return time.Since(l.start) }

func (l *Loop) runPosts() {
	l.mu.Lock()
	posts := l.posts
	l.posts = l.spare[:0]
	l.awake = false
	l.mu.Unlock()
	for i, f := range posts {
		posts[i] = nil
		l.call(f)
	}
	l.spare = posts
}

// call calls a posted function. Functions for one connection come through [Conn.Post].
func (l *Loop) call(f func()) {
	defer func() {
		if p := recover(); p != nil {
			l.logPanic("a call on the loop panicked", p)
		}
	}()
	f()
}

// add makes a connection of nc.
func (l *Loop) add(nc net.Conn, early []byte, client func(*Conn, time.Duration) Client) {
	c := &Conn{loop: l}
	l.conns[c] = struct{}{}
	defer func() {
		if c.socket == nil { // Creating the client panicked.
			nc.Close()
		}
	}()
	defer l.recovered(c)
	l.adding = nc
	defer func() { l.adding = nil }()
	c.client = client(c, l.now)
	if c.socket = l.poller.adopt(c, nc); c.socket == nil {
		c.socket = newPortable(c, nc)
	}
	c.Arm(l.now)
	if l.read(c, early) {
		c.socket.more()
	}
}

// read passes received bytes to the client of c, and reports whether the client took all of
// them, so that the socket may continue to read.
func (l *Loop) read(c *Conn, p []byte) (all bool) {
	defer l.recovered(c)
	if c.gone {
		return false
	}
	c.resumed = false
	l.work += 1 + len(p)/workBytes
	l.reading = c
	n := c.client.Read(p, l.now)
	l.reading = nil
	switch {
	case c.gone:
		return false
	case n == len(p):
		c.left, c.resumed = nil, false
		return true
	case c.left != nil:
		c.left = p[n:]
	default:
		c.left = c.socket.keep(p[n:])
	}
	if c.resumed {
		l.work += clockEvery
		c.requeue(unfinished)
	}
	return false
}

// flush continues reading where it had to wait. Then it writes the client's bytes until
// there are no more, the socket accepts no more, or other connections get their turn.
func (l *Loop) flush(c *Conn) {
	defer l.recovered(c)
	l.work++
	if c.resumed {
		c.resumed = false
		if c.left == nil || l.read(c, c.left) {
			c.socket.more()
		}
	}
	for range writesPerTurn {
		if c.gone || c.blocked {
			return
		}
		p := c.client.Next()
		if len(p) == 0 {
			return
		}
		n, blocked, err := c.socket.write(p)
		l.work += 1 + n/workBytes
		c.client.Wrote(n)
		if err != nil {
			c.Drop()
			return
		}
		if n > 0 {
			c.progressed(l.now)
		}
		if blocked {
			c.block()
			return
		}
	}
	c.Dirty()
}

func (l *Loop) tick(c *Conn) {
	defer l.recovered(c)
	c.checkProgress(l.now)
	next := c.client.Tick(l.now)
	if c.gone {
		return
	}
	if c.blocked {
		next = min(next, l.now+blockedTick)
	}
	c.Arm(next)
}

// recovered ends c, and only c, if its handling panicked.
func (l *Loop) recovered(c *Conn) {
	if p := recover(); p != nil {
		l.reading = nil
		l.logPanic("connection ended by a panic", p)
		c.Drop()
	}
}

func (l *Loop) logPanic(what string, p any) {
	l.panics.Add(1)
	l.config.Log.Error(what, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
}
