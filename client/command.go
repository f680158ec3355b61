package client

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/ikornaselur/notiflux/client/internal/connect"
	"github.com/ikornaselur/notiflux/client/internal/tokens"
	"github.com/ikornaselur/notiflux/client/internal/wire"
)

// command sends commands as they become necessary. It returns when ctx ends, when writing
// fails, or when the lane is no longer needed. Each token source that is being asked has a
// goroutine, which command waits for.
func (l *lane) command(ctx context.Context, s *session) error {
	var fetching sync.WaitGroup
	defer fetching.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var again <-chan time.Time
	for {
		need, wait, err := l.commandAll(ctx, s)
		if err != nil {
			return err
		}
		for _, n := range need {
			fetching.Go(func() { l.fetch(ctx, s, n) })
		}
		waiting, over, overdue := l.rest(s)
		switch {
		case over:
			return nil
		case overdue < 0:
			return connect.ErrNoAnswer
		case overdue > 0 && (wait == 0 || overdue < wait):
			wait = overdue
		}
		if again == nil && waiting {
			again = time.After(s.delays.Next(l.hub.delay))
		}
		var due <-chan time.Time
		if wait > 0 {
			due = time.After(wait)
		}
		select {
		case <-l.wake:
		case <-due:
		case <-again:
			again = nil
			l.tryAgain()
		case <-ctx.Done():
			return nil
		}
	}
}

// commandAll sends all commands that are necessary now, and returns the tokens that further
// commands need. If the server's rate does not allow a command yet, wait says for how long.
func (l *lane) commandAll(ctx context.Context, s *session) (needs []need, wait time.Duration, err error) {
	for ctx.Err() == nil {
		if wait = s.pace.Wait(); wait > 0 {
			return nil, wait, nil
		}
		next, needs := l.next(s)
		if next == nil {
			return needs, 0, nil
		}
		s.pace.Take()
		if err := s.conn.Write(ctx, next); err != nil {
			return nil, 0, err
		}
	}
	return nil, 0, nil
}

// fetch asks a source for a token. If the source fails, the feeds that need the token wait.
func (l *lane) fetch(ctx context.Context, s *session, n need) {
	_, err := n.tokens.Get(ctx, tokens.Subscribe, n.topics)
	if err != nil && ctx.Err() == nil {
		l.putOff(n.tokens, err)
	}
	l.hub.mu.Lock()
	delete(s.fetching, n.tokens)
	l.hub.mu.Unlock()
	l.wakeUp()
}

// rest reports whether a feed waits to be tried again, whether the lane is no longer needed,
// and when an answer will be overdue. A negative duration means that one is, and 0 that the
// server owes none.
func (l *lane) rest(s *session) (waiting, over bool, overdue time.Duration) {
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	return len(l.later) > 0, !l.first && len(l.feeds) == 0, s.owed.Overdue()
}

// A need is a token that has to be fetched from its source.
type need struct {
	tokens *tokens.Cache
	topics []string
}

// next returns the next command or, if none can be sent now, the tokens that commands need
// and that nobody fetches yet.
func (l *lane) next(s *session) (*wire.Command, []need) {
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	if n := len(l.gone); n > 0 {
		n = s.welcome.Limits.Fit(n, "", func(at int) int { return len(l.gone[at]) })
		s.ids++
		leave := &wire.Command{Type: "unsubscribe", ID: s.ids, Topics: l.gone[:n:n]}
		l.gone = l.gone[n:]
		return leave, nil
	}
	l.todo = keep(l.todo, wanted)
	l.lists = keep(l.lists, listed)
	for _, f := range l.todo {
		if token, ok := f.tokens.Cached(tokens.Subscribe, f.topic); ok {
			return l.subscribeLocked(s, f.terms(), token), nil
		}
	}
	for i, f := range l.lists {
		if token, ok := f.tokens.Cached(tokens.Subscribe, f.topic); ok {
			f.list, l.lists = listNone, slices.Delete(l.lists, i, i+1)
			s.ids++
			s.listing[s.ids] = listing{f, token}
			s.sentLocked()
			return &wire.Command{Type: "presence", ID: s.ids, Topic: f.topic, Token: token}, nil
		}
	}
	return nil, s.needsLocked(slices.Concat(l.todo, l.lists))
}

// needsLocked returns the tokens that feeds need. It notes that they are being fetched.
func (s *session) needsLocked(feeds []*feed) (needs []need) {
	for _, f := range feeds {
		at := slices.IndexFunc(needs, func(n need) bool { return n.tokens == f.tokens })
		if at < 0 {
			if s.fetching[f.tokens] {
				continue
			}
			s.fetching[f.tokens] = true
			at = len(needs)
			needs = append(needs, need{tokens: f.tokens})
		}
		needs[at].topics = append(needs[at].topics, f.topic)
	}
	return needs
}

func wanted(f *feed) bool { return f.state == feedWanted }

func listed(f *feed) bool { return f.list == listWanted && f.state == feedLive }

func keep(feeds []*feed, ok func(*feed) bool) (kept []*feed) {
	for _, f := range feeds {
		if ok(f) {
			kept = append(kept, f)
		}
	}
	return kept
}

// terms are the options that all topics of a subscribe command share, as they share a
// token.
type terms struct {
	last             int
	latest, presence bool
}

func (f *feed) terms() terms {
	t := terms{f.last, f.latest, f.presence}
	if f.position.Epoch != "" {
		t.last = 0 // it resumes from its position
	}
	return t
}

// subscribeLocked returns the command for the feeds in l.todo with these terms and this token,
// as far as they fit.
func (l *lane) subscribeLocked(s *session, of terms, token string) *wire.Command {
	batch := keep(l.todo, func(f *feed) bool {
		if f.terms() != of {
			return false
		}
		same, ok := f.tokens.Cached(tokens.Subscribe, f.topic)
		return ok && same == token
	})
	batch = batch[:s.welcome.Limits.Fit(len(batch), token, func(at int) int {
		return 2*len(batch[at].topic) + len(batch[at].position.Epoch)
	})]
	s.ids++
	c := &wire.Command{Type: "subscribe", ID: s.ids, Last: of.last, Since: map[string]string{}, Presence: of.presence, Token: token}
	if of.latest {
		c.Mode = "latest"
	}
	for _, f := range batch {
		f.state, f.token = feedAsked, token
		c.Topics = append(c.Topics, f.topic)
		if f.position.Epoch != "" {
			c.Since[f.topic] = f.position.String()
		}
	}
	s.pending[s.ids] = batch
	s.sentLocked()
	l.todo = keep(l.todo, wanted) // at once: the answer may add them again
	return c
}

// sentLocked notes that the last command is sent now. Event streams have deadlines of their
// own.
func (s *session) sentLocked() {
	if !s.streams {
		s.owed.Sent(s.ids)
	}
}

// putOff makes the feeds wait that need a token of t, because its source failed.
func (l *lane) putOff(t *tokens.Cache, err error) {
	l.hub.log.Info("trying again later", "error", err)
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	lacks := func(f *feed) bool {
		_, ok := f.tokens.Cached(tokens.Subscribe, f.topic)
		return f.tokens == t && !ok
	}
	for _, f := range keep(l.todo, wanted) {
		if lacks(f) {
			l.waitLocked(f)
		}
	}
	for _, f := range keep(l.lists, listed) {
		if lacks(f) {
			l.listLaterLocked(f)
		}
	}
	l.todo, l.lists = keep(l.todo, wanted), keep(l.lists, listed)
}

// waitLocked makes a feed wait before the lane subscribes to it again.
func (l *lane) waitLocked(f *feed) {
	f.state = feedLater
	l.later = append(l.later, f)
}

func (l *lane) listLaterLocked(f *feed) {
	f.list = listLater
	l.later = append(l.later, f)
}

// wantLocked makes the lane subscribe to a feed again at once.
func (l *lane) wantLocked(f *feed) {
	f.state = feedWanted
	l.todo = append(l.todo, f)
}

// tryAgain ends the waiting of all feeds.
func (l *lane) tryAgain() {
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	for _, f := range l.later {
		if f.state == feedLater {
			l.wantLocked(f)
		}
		if f.list == listLater {
			f.wantList()
		}
	}
	l.later = nil
}
