package topic

import (
	"sync"
	"time"

	"github.com/ikornaselur/notiflux/internal/prefixes"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

const (
	// A pattern topic holds this much; its messages expire as those of other topics do.
	maxPatternMessages = 1000
	maxPatternBytes    = 1 << 20

	// keepPatterns is how long a pattern topic without listeners and pins stays in memory, so
	// that a client that reconnects can resume.
	keepPatterns = 5 * time.Minute

	defaultMaxPatterns = 10_000

	// What one user can cost: a message is appended to each pattern topic that matches it.
	maxNestedPerUser   = 16
	maxPatternsPerUser = 1000
)

// isInternal reports whether name is that of a presence topic or a pattern topic. These have
// no tombstones.
func isInternal(name pubsub.Topic) bool { return IsPresenceTopic(name) || name.IsPattern() }

// patterns are the pattern topics of a Topics; see [pubsub.Pattern.Topic]. The log of each holds
// the messages of all topics that the pattern matches, in the order of their offsets. Cursors
// read it like any other, so a subscriber of a pattern is a cursor too. Its entries share the
// frames of the entries of their topics.
//
// A pattern topic is live from the first [Topics.Open] until it has been unused for a while. A
// resume point is covered only if the log holds everything after it.
//
// While a message is appended to pattern topics, order is held from before its offset is
// assigned. So the offsets in the log of a pattern topic strictly increase, although they are
// those of many topics. While a pattern topic becomes live, no message is being ordered. So
// its log begins at a moment in the order of all messages: it has every message after that.
//
// Locks are taken in the order ordering, Topics.mu, Topic.mu of another topic, order,
// Topic.mu of a pattern topic.
type patterns struct {
	limits   Limits       // of pattern topics; immutable
	ordering sync.RWMutex // held for reading while messages are ordered, for writing while a pattern topic becomes live
	order    sync.Mutex   // held while a message is ordered that a pattern matches
	live     prefixes.Set[*Topic]
	users    prefixes.Owners[*Topic] // who made them live
}

// fixed returns the text before the * of the pattern of t.
func (t *Topic) fixed() string {
	pattern := t.name.Shown()
	return pattern[:len(pattern)-1]
}

// dropPatterns drops pattern topics that have not been used for long, and others that are not
// in use while there are limit pattern topics or more.
func dropPatterns(s *Topics, limit int) {
	before := s.config.Now().Add(-keepPatterns)
	for t, ok := s.patterns.live.TakeUnused(before, limit); ok; t, ok = s.patterns.live.TakeUnused(before, limit) {
		s.drop(t, (*Topic).inUseLocked)
	}
}

// openPattern does what Open does, for a pattern topic. With Config.Heads, head is ignored.
func openPattern(s *Topics, name pubsub.Topic, head pubsub.Position, point ResumePoint) (Pin, error) {
	if pin, live := s.Pin(name, point); live {
		return pin, nil
	}
	s.patterns.ordering.Lock()
	defer s.patterns.ordering.Unlock()
	if pin, live := s.Pin(name, point); live { // Another call was faster.
		return pin, nil
	}
	most := s.config.MaxPatterns
	if dropPatterns(s, most); s.patterns.live.Len() >= most {
		return Pin{}, pubsub.Errorf(pubsub.OverCapacity, "pattern limit of the server reached (%d): try again later", most)
	}
	if err := roomForUser(s, point.User, name.Shown()[:len(name.Shown())-1]); err != nil {
		return Pin{}, err
	}
	if s.config.Heads != nil {
		head = s.config.Heads.Newest()
	}
	t, err := s.locked(name, head)
	if err != nil {
		return Pin{}, err
	}
	defer t.mu.Unlock()
	s.patterns.live.Add(t.fixed(), t)
	t.user = point.User
	s.patterns.users.Add(t.user, t.fixed(), t)
	return s.pinLocked(t, point), nil
}

// roomForUser returns an error unless a user may make another pattern topic live. It drops those of
// the user that are not in use and match the same topics, if that is necessary.
func roomForUser(s *Topics, user, fixed string) error {
	nested, depth, all := s.patterns.users.Nested(user, fixed)
	if depth >= maxNestedPerUser {
		for _, t := range nested {
			s.drop(t, (*Topic).inUseLocked)
		}
		_, depth, all = s.patterns.users.Nested(user, fixed)
	}
	switch {
	case depth >= maxNestedPerUser:
		return pubsub.Errorf(pubsub.TooMany, "limit of the user's patterns that match the same topics reached (%d on this server): subscribe to one that contains the others", maxNestedPerUser)
	case all >= maxPatternsPerUser:
		return pubsub.Errorf(pubsub.TooMany, "pattern limit of the user reached (%d on this server): subscribe to one that contains several, or try again later", maxPatternsPerUser)
	}
	return nil
}

// copy appends the message of e, an entry that the log of its topic just got, unless that is not
// live, to the pattern topic t. It returns the listeners to wake.
func (t *Topic) copy(s *Topics, e *Entry, now time.Time) []Listener {
	t.mu.Lock()
	defer t.mu.Unlock()
	head, at := t.log.Head(), e.message.Position
	if t.dropped || at.Epoch != head.Epoch || at.Offset <= head.Offset {
		return nil
	}
	before := t.log.charge()
	s.logs.share(e)
	t.log.tail.original = e
	t.log.Append(e.message)
	t.log.Expire(now)
	s.bytes.Add(t.log.charge() - before)
	s.queueLocked(t)
	return t.listeners.give()
}
