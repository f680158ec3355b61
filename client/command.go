package client

import (
	"context"
	"slices"
	"time"

	"github.com/ikornaselur/notiflux/client/internal/tokens"
	"github.com/ikornaselur/notiflux/client/internal/wire"
)

const (
	// topicBytes is more than a topic takes in a command besides its name, which
	// JSON at most doubles, and its epoch: quotes, commas, an offset.
	topicBytes = 40
	// frameBytes is more than a command takes without topics and token.
	frameBytes = 256
)

// command sends commands as they become necessary. It returns when ctx ends, when writing
// fails, or when the lane is no longer needed.
func (l *lane) command(ctx context.Context, s *session) error {
	var again <-chan time.Time
	for {
		if err := l.commandAll(ctx, s); err != nil {
			return err
		}
		waiting, over := l.rest()
		if over {
			return nil
		}
		if again == nil && waiting {
			again = time.After(l.hub.delay(s.delays))
			s.delays++
		}
		select {
		case <-l.wake:
		case <-again:
			again = nil
			l.tryAgain()
		case <-ctx.Done():
			return nil
		}
	}
}

// commandAll sends all commands that are necessary now. When the token source fails, the
// feeds that need the token wait, and the others continue.
func (l *lane) commandAll(ctx context.Context, s *session) error {
	for ctx.Err() == nil {
		next, need := l.next(s)
		switch {
		case need != nil:
			if _, err := need.tokens.Get(ctx, tokens.Subscribe, need.topics); err != nil {
				l.putOff(need.tokens, err)
			}
		case next == nil:
			return nil
		default:
			if err := s.conn.Write(ctx, next); err != nil {
				return err
			}
		}
	}
	return nil
}

// rest reports whether a feed waits to be tried again, and whether the lane is no longer
// needed.
func (l *lane) rest() (waiting, over bool) {
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	return len(l.later) > 0, !l.first && len(l.feeds) == 0
}

// A need is a token that has to be fetched from its source.
type need struct {
	tokens *tokens.Cache
	topics []string
}

// next returns the next command, or the token that the command needs first. Both are nil
// if there is nothing to do.
func (l *lane) next(s *session) (*wire.Command, *need) {
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	limits := s.welcome.Limits
	if n := len(l.gone); n > 0 {
		n = fitting(limits, 0, n, func(at int) int { return 2*len(l.gone[at]) + topicBytes })
		s.ids++
		leave := &wire.Command{Type: "unsubscribe", ID: s.ids, Topics: l.gone[:n:n]}
		l.gone = l.gone[n:]
		return leave, nil
	}
	l.todo = keep(l.todo, wanted)
	l.lists = keep(l.lists, func(f *feed) bool { return f.list == listWanted && f.state == feedLive })
	feeds := slices.Concat(l.todo, l.lists)
	if len(feeds) == 0 {
		return nil, nil
	}
	token, ok := feeds[0].tokens.Cached(tokens.Subscribe, feeds[0].topic)
	if !ok {
		need := &need{tokens: feeds[0].tokens}
		for _, f := range feeds {
			if f.tokens == need.tokens {
				need.topics = append(need.topics, f.topic)
			}
		}
		return nil, need
	}
	if len(l.todo) > 0 {
		return l.subscribeLocked(s, token), nil
	}
	f := l.lists[0]
	f.list, l.lists = listNone, l.lists[1:]
	s.ids++
	s.listing[s.ids] = f
	return &wire.Command{Type: "presence", ID: s.ids, Topic: f.topic, Token: token}, nil
}

func wanted(f *feed) bool { return f.state == feedWanted }

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

// subscribeLocked returns the command for the first feed in l.todo and for the others with
// the same terms and token, as far as they fit.
func (l *lane) subscribeLocked(s *session, token string) *wire.Command {
	of := l.todo[0].terms()
	batch := keep(l.todo, func(f *feed) bool {
		if f.terms() != of {
			return false
		}
		same, ok := f.tokens.Cached(tokens.Subscribe, f.topic)
		return ok && same == token
	})
	batch = batch[:fitting(s.welcome.Limits, len(token), len(batch), func(at int) int {
		return 4*len(batch[at].topic) + len(batch[at].position.Epoch) + topicBytes
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
	l.todo = keep(l.todo, wanted) // at once: the answer may add them again
	return c
}

// fitting returns how many of n topics fit into a command with a token of that length, at
// least one.
func fitting(l wire.Limits, token, n int, size func(at int) int) int {
	n = min(n, l.TopicsPerCommand)
	room := l.Command - frameBytes - token
	for at := range n {
		if room -= size(at); room < 0 {
			return max(at, 1)
		}
	}
	return n
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
	for _, f := range l.todo {
		if lacks(f) {
			l.waitLocked(f)
		}
	}
	for _, f := range l.lists {
		if lacks(f) {
			l.listLaterLocked(f)
		}
	}
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
