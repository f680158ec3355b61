package client

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/ikornaselur/notiflux/client/internal/connect"
	"github.com/ikornaselur/notiflux/client/internal/rest"
	"github.com/ikornaselur/notiflux/client/internal/tokens"
	"github.com/ikornaselur/notiflux/client/internal/wire"
)

const (
	// steady is how long a connection must have held for the back-off to start again:
	// as long as the longest wait.
	steady = connect.MaxBackoff

	// closeTimeout is how long a lane waits for the server to close its side.
	closeTimeout = time.Second
)

// A lane is one connection at a time, with a feed for each of its topics. When the connection
// ends, the lane reconnects. The first lane of a hub stays; any other ends with its last feed.
type lane struct {
	// Immutable.
	hub   *hub
	first bool
	stop  context.CancelFunc
	wake  chan struct{} // has room for one; filled when a command may be necessary

	opened bool // has been connected; owned by run

	// Guarded by hub.mu.
	feeds   map[string]*feed // by topic
	todo    []*feed          // to subscribe to
	lists   []*feed          // whose list of members to request
	later   []*feed          // of both kinds, refused for now
	gone    []string         // topics to unsubscribe from
	room    int              // how many topics the server takes on a connection; 0: unknown
	session *session         // nil: not connected
	wanted  bool             // Connect waits for an attempt
	attempt *attempt         // the next one to end
	cut     bool             // the subscriptions know that the lane is not connected
	notes   []note           // to log
}

// An attempt is one attempt to connect.
type attempt struct {
	done chan struct{} // closed when err is set
	err  error
}

// A session is one connection of a lane.
type session struct {
	// Immutable.
	conn    connect.Conn
	welcome wire.Welcome
	streams bool

	// Owned by the goroutine that sends commands.
	pace   connect.Pace
	delays connect.Delays // of feeds that were refused for now

	// Guarded by hub.mu.
	ids      int64
	pending  map[int64][]*feed      // the feeds of each subscribe command, by its id
	listing  map[int64]listing      // what each presence command asks for
	owed     connect.Owed           // the answers to these commands
	fetching map[*tokens.Cache]bool // the sources that are being asked for a token
}

// A listing is a presence command under way.
type listing struct {
	feed  *feed
	token string
}

// startLaneLocked adds a lane and starts its goroutine.
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

// run keeps the lane connected until ctx ends, the server forbids reconnecting, or the lane
// is no longer needed. It starts one more goroutine for each connection, and waits for it.
func (l *lane) run(ctx context.Context) {
	defer l.stop()
	defer l.attempted(ErrClosed)
	var failed time.Time // the last attempt or connection
	for attempt := 0; l.needed(ctx); {
		held, err := l.connect(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			continue // the lane is no longer needed
		}
		if held >= steady || time.Since(failed) > 2*steady {
			attempt = 0
		}
		failed = time.Now()
		wait, again := l.pause(err, attempt)
		attempt++
		if !again || !l.opened && rest.IsTLSRefusal(err) {
			if !l.giveUp(err) {
				continue // only Connect waits
			}
			wait = l.hub.delay(attempt) // for a program that subscribes again at once
		} else {
			l.announce(err)
			l.hub.log.Info("connecting again", "error", err, "wait", wait)
		}
		if !connect.Sleep(ctx, wait) {
			return
		}
	}
}

// needed waits until there is a reason to connect. It reports false if the lane has ended.
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

// attempted ends an attempt; Connect may wait for it.
func (l *lane) attempted(err error) {
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	l.wanted = false
	if l.attempt.err = err; l.hub.closed {
		l.attempt.err = ErrClosed
	}
	close(l.attempt.done)
	l.attempt = &attempt{done: make(chan struct{})}
}

// connect connects, and serves the connection until it ends. It returns for how long the
// connection held and why it ended. The error is nil if the lane is no longer needed.
func (l *lane) connect(ctx context.Context) (time.Duration, error) {
	c, streams, err := l.hub.dialer.Dial(ctx)
	if err != nil {
		l.attempted(publicError(err))
		return 0, err
	}
	began := time.Now()
	l.opened = true
	s := &session{
		conn: c, welcome: c.Welcome(), streams: streams, pace: connect.NewPace(c.Welcome().Limits.CommandsPerSecond),
		pending: map[int64][]*feed{}, listing: map[int64]listing{}, fetching: map[*tokens.Cache]bool{},
	}
	l.begin(s)
	l.attempted(nil)
	err = l.serve(ctx, s)
	l.begin(nil)
	return time.Since(began), err
}

// begin makes s the session of the lane, to which all feeds have to be subscribed; nil: the
// lane is not connected.
func (l *lane) begin(s *session) {
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	l.session, l.gone, l.lists, l.later = s, nil, nil, nil
	if s != nil {
		l.room = s.welcome.Limits.Topics
	}
	l.cut = l.cut && (s == nil || s.streams) // streams are connected once a frame arrives
	l.todo = sortFeeds(l.feeds)
	for _, f := range l.todo {
		f.state, f.list, f.renewed, f.extended = feedWanted, listNone, false, false
	}
}

// serve runs a session until it ends, ctx ends, or the lane is no longer needed.
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
		// The reader may be about to find out why writing fails.
		select {
		case <-commanding.Done():
		case <-time.After(closeTimeout):
		}
	}
	byServer := commanding.Err() != nil && ctx.Err() == nil
	closing, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = s.conn.Close(closing) // the session ends whether or not the server notices
	reader.Wait()
	if !byServer {
		return err
	}
	if connect.IsIdle(cause) && l.unused() {
		return errUnused
	}
	if connect.IsRevoked(cause) && l.renew(cause) {
		return &renewedError{cause}
	}
	return cause
}

// A renewedError ends a session whose tokens were revoked; the sources are asked for others.
type renewedError struct{ error }

func (e *renewedError) Unwrap() error { return e.error }

// renew has the sources asked for other tokens, and ends feeds with a fixed token with err. It
// reports false, and changes nothing, if no feed has a source, or none was live: then the
// tokens are not the reason.
func (l *lane) renew(err error) (renewed bool) {
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	var fixed []*feed
	for _, f := range sortFeeds(l.feeds) {
		if !f.tokens.HasSource() {
			fixed = append(fixed, f)
		} else if f.state == feedLive && f.renewLocked(f.token, wire.TokenRevoked) {
			renewed = true
		}
	}
	if renewed {
		l.hub.refuseLocked(fixed, publicError(err))
	}
	return renewed
}

// errUnused ends a session in which the server has seen no valid command.
var errUnused = errors.New("the server closed the connection before it confirmed any subscription")

// unused reports whether no feed is live: the first command crossed the end of the session,
// or every feed waits.
func (l *lane) unused() bool {
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	for _, f := range l.feeds {
		if f.state == feedLive {
			return false
		}
	}
	return true
}

// pause returns how long to wait after err before an attempt. It reports false if the lane
// must not reconnect.
func (l *lane) pause(err error, attempt int) (time.Duration, bool) {
	switch {
	case err == errUnused && attempt == 0:
		return 0, true
	case err == errUnused:
		return l.hub.delay(attempt), true
	}
	if _, ok := errors.AsType[*renewedError](err); ok {
		return l.hub.delay(attempt), true
	}
	return connect.Pause(err, attempt, l.hub.delay)
}

// giveUp ends all feeds of the lane with err. It reports false if there are none.
func (l *lane) giveUp(err error) bool {
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	feeds := sortFeeds(l.feeds)
	l.hub.refuseLocked(feeds, publicError(err))
	return len(feeds) > 0
}

// announce yields a Disconnected to each subscription, once until the lane is connected
// again.
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
