package client

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/ikornaselur/notiflux/client/internal/connect"
	"github.com/ikornaselur/notiflux/client/internal/rest"
	"github.com/ikornaselur/notiflux/client/internal/wire"
)

const (
	// steady is how long a connection must have held for the next attempt to be
	// the first: as long as the longest wait.
	steady = connect.MaxBackoff

	// closeTimeout is how long a lane waits for the server to close as well.
	closeTimeout = time.Second
	// commandTimeout is longer than the first command takes to reach the server.
	commandTimeout = 10 * time.Second
)

// A lane is a connection, and the next one when it ends, for feeds of different topics.
// The first lane of a hub stays; any other ends when it has no feed.
type lane struct {
	// Immutable.
	hub   *hub
	first bool
	stop  context.CancelFunc
	wake  chan struct{} // has room for one: there is something to command

	opened bool // has been connected; owned by run

	// Guarded by hub.mu.
	feeds   map[string]*feed // by topic
	todo    []*feed          // to be asked for
	lists   []*feed          // of which to ask who is present
	later   []*feed          // what waits of both, for a moment
	gone    []string         // topics to unsubscribe from
	session *session         // nil: not connected
	wanted  bool             // Connect waits
	attempt *attempt         // the next one to end
	cut     bool             // Disconnected was yielded since the last connection
	notes   []note           // to be logged
}

// An attempt is one try to connect.
type attempt struct {
	done chan struct{} // closed when err is there
	err  error
}

// A session is one connection of a lane.
type session struct {
	// Immutable.
	conn    connect.Conn
	welcome wire.Welcome
	streams bool

	// Owned by the goroutine that commands.
	commanded time.Time // when a command was sent first; zero: not yet
	delays    int       // how often something was refused for now

	// Guarded by hub.mu.
	ids     int64
	pending map[int64][]*feed // what a subscribe command was about, by its id
	listing map[int64]*feed   // likewise for presence commands
}

// startLaneLocked adds a lane, and starts its goroutine.
func (h *hub) startLaneLocked() *lane {
	ctx, cancel := context.WithCancel(context.Background())
	l := &lane{
		hub: h, first: len(h.lanes) == 0, stop: cancel, wake: make(chan struct{}, 1),
		feeds: map[string]*feed{}, attempt: &attempt{done: make(chan struct{})},
	}
	h.lanes = append(h.lanes, l)
	h.running.Go(func() { l.run(ctx) })
	return l
}

func (l *lane) wakeUp() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run keeps the lane connected until ctx ends, the server says not to come back, or a
// lane that is not the first has nothing to do. Each connection has one more goroutine,
// which run waits for.
func (l *lane) run(ctx context.Context) {
	defer l.stop()
	defer l.attempted(ErrClosed)
	for attempt := 0; l.needed(ctx); {
		held, err := l.connect(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			continue // there was nothing to do any more
		}
		if held >= steady {
			attempt = 0
		}
		wait, again := l.pause(err, attempt)
		attempt++
		if !again || !l.opened && rest.IsTLSRefusal(err) {
			if l.giveUp(err) {
				return
			}
			continue
		}
		l.announce(err)
		l.hub.log.Info("connecting again", "error", err, "wait", wait)
		if !sleep(ctx, wait) {
			return
		}
	}
}

// needed waits until there is a reason to connect. It reports false if the lane ends.
func (l *lane) needed(ctx context.Context) bool {
	for {
		l.hub.mu.Lock()
		need := len(l.feeds) > 0 || l.wanted
		if !need && !l.first {
			l.removeLocked()
		}
		l.hub.mu.Unlock()
		if need || !l.first {
			return need && ctx.Err() == nil
		}
		select {
		case <-l.wake:
		case <-ctx.Done():
			return false
		}
	}
}

func (l *lane) removeLocked() {
	l.hub.lanes = slices.DeleteFunc(l.hub.lanes, func(other *lane) bool { return other == l })
}

// attempted tells Connect how an attempt has ended.
func (l *lane) attempted(err error) {
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	l.wanted = false
	if l.attempt.err = err; l.hub.err != nil {
		l.attempt.err = l.hub.err
	}
	close(l.attempt.done)
	l.attempt = &attempt{done: make(chan struct{})}
}

// connect connects and serves the connection until it ends. It returns why, and for how
// long it held; a nil error means that the lane had nothing to do any more.
func (l *lane) connect(ctx context.Context) (time.Duration, error) {
	c, streams, err := l.hub.dialer.Dial(ctx)
	if err != nil {
		l.attempted(publicError(err))
		return 0, err
	}
	began := time.Now()
	l.opened = true
	s := &session{conn: c, welcome: c.Welcome(), streams: streams, pending: map[int64][]*feed{}, listing: map[int64]*feed{}}
	l.begin(s)
	l.attempted(nil)
	err = l.serve(ctx, s)
	l.begin(nil)
	return time.Since(began), err
}

// begin makes s the session in which everything is to be asked for; nil: there is none.
func (l *lane) begin(s *session) {
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	l.session, l.gone, l.lists, l.later = s, nil, nil, nil
	l.cut = l.cut && (s == nil || s.streams) // streams connect with the first answer
	l.todo = sortFeeds(l.feeds)
	for _, f := range l.todo {
		f.state, f.list, f.renewed, f.extended = feedWanted, listNone, false, false
	}
}

// serve runs a session until it ends, ctx ends or the lane has nothing to do.
func (l *lane) serve(ctx context.Context, s *session) error {
	commanding, ended := context.WithCancel(ctx)
	var cause error
	var reader sync.WaitGroup
	reader.Go(func() {
		defer ended()
		cause = l.read(s)
	})
	err := l.command(commanding, s)
	if err != nil {
		// What the server has said before may be why nothing can be written.
		select {
		case <-commanding.Done():
		case <-time.After(closeTimeout):
		}
	}
	byServer := commanding.Err() != nil && ctx.Err() == nil
	closing, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = s.conn.Close(closing) // it ends, whether or not the server notices
	reader.Wait()
	if !byServer {
		return err
	}
	if connect.IsIdle(cause) && s.unused() {
		return errUnused
	}
	return cause
}

// errUnused is why a session ends in which the server has seen no command.
var errUnused = errors.New("the connection was not used")

// unused reports whether the first command may have crossed the end of the session.
func (s *session) unused() bool {
	return s.commanded.IsZero() || time.Since(s.commanded) < commandTimeout
}

// pause returns how long to wait after err before an attempt; false: there is to be none.
func (l *lane) pause(err error, attempt int) (time.Duration, bool) {
	if err == errUnused {
		return 0, true
	}
	return connect.Pause(err, attempt, l.hub.delay)
}

// giveUp ends the client for err. It reports false if the lane has nobody to tell.
func (l *lane) giveUp(err error) bool {
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	if len(l.feeds) == 0 {
		return false
	}
	l.hub.endLocked(publicError(err))
	return true
}

// announce tells each subscription that the connection has ended, once until there is
// another one.
func (l *lane) announce(err error) {
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	if l.cut {
		return
	}
	l.cut = true
	told := map[*Subscription]bool{}
	for _, f := range l.feeds {
		for _, m := range f.members {
			if !told[m.Subscription] {
				told[m.Subscription] = true
				m.queue.put(entry{event: Disconnected{publicError(err)}})
			}
		}
	}
}

// sleep waits, and reports whether ctx still holds.
func sleep(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
