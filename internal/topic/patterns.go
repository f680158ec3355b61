package topic

import (
	"container/list"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

const (
	// patternPrefix begins the names of pattern topics. No valid topic name begins with it.
	patternPrefix = "\x01"

	// A pattern topic holds this much; its messages expire as those of other topics do.
	maxPatternMessages = 1000
	maxPatternBytes    = 1 << 20

	// keepPatterns is how long a pattern topic without listeners and pins stays in memory, so
	// that a client that reconnects can resume.
	keepPatterns = 5 * time.Minute

	defaultMaxPatterns = 10_000
)

// PatternTopic returns the name of the topic that holds the messages of all topics that p
// matches, in the order of their offsets. Each entry has the topic and the position of its
// message. Cursors read its log like any other, so a subscriber of a pattern is a cursor too.
//
// A pattern topic is live from the first [Topics.Open] until it has been unused for five
// minutes. It gets only what [Topics.Order] orders in the meantime. If it is opened with a
// resume point, that is covered only if the log holds everything after it.
func PatternTopic(p pubsub.Pattern) pubsub.Topic { return pubsub.Topic(patternPrefix + p) }

// PatternOf returns the pattern of a pattern topic. It returns false if name is not a result
// of PatternTopic.
func PatternOf(name pubsub.Topic) (p pubsub.Pattern, ok bool) {
	text, ok := strings.CutPrefix(string(name), patternPrefix)
	return pubsub.Pattern(text), ok
}

// IsPatternTopic reports whether name is a result of PatternTopic.
func IsPatternTopic(name pubsub.Topic) bool { return strings.HasPrefix(string(name), patternPrefix) }

// isInternal reports whether name is that of a presence topic or a pattern topic. These have
// no tombstones.
func isInternal(name pubsub.Topic) bool { return IsPresenceTopic(name) || IsPatternTopic(name) }

// patterns are the pattern topics of a Topics.
//
// Each topic caches which of them match its name, until version changes. So a message of a
// topic costs the same however many patterns there are that do not match it.
//
// While a message is appended to pattern topics, order is held from before its offset is
// assigned. So the offsets in the log of a pattern topic strictly increase, although they are
// those of many topics. While a pattern topic becomes live, no message is being ordered. So
// its log begins at a moment in the order of all messages: it has every message after that.
//
// Locks are taken in the order ordering, Topics.mu, Topic.mu of another topic, order,
// Topic.mu of a pattern topic, mu.
type patterns struct {
	ordering sync.RWMutex // held for reading while messages are ordered, for writing while a pattern topic becomes live
	order    sync.Mutex   // held while a message is ordered that a pattern matches

	version atomic.Uint64 // number of changes of live

	mu sync.Mutex
	// Guarded by mu.
	live    map[string]*Topic // by the text before the * of the pattern
	lengths [pubsub.MaxTopicBytes + 1]int
	none    *matches // of topics that no pattern matches
	unused  list.List
	places  map[*Topic]*list.Element // in unused
}

// matches are the pattern topics that match the name of a topic.
type matches struct {
	version uint64
	topics  []*Topic
}

// An unusedPattern is a pattern topic that had no listener and no pin at a time.
type unusedPattern struct {
	topic *Topic
	since time.Time
}

// matching returns the pattern topics that match the name of t, whose lock is held. The caller
// holds s.patterns.ordering for reading.
func (s *Topics) matching(t *Topic) []*Topic {
	version := s.patterns.version.Load()
	switch {
	case version == 0:
		return nil
	case t.matches == nil || t.matches.version != version:
		t.matches = s.patterns.match(string(t.name))
	}
	return t.matches.topics
}

func (p *patterns) match(name string) *matches {
	p.mu.Lock()
	defer p.mu.Unlock()
	version := p.version.Load()
	var found []*Topic
	for n := range min(len(name), len(p.lengths)-1) + 1 {
		if p.lengths[n] == 0 {
			continue
		}
		if t := p.live[name[:n]]; t != nil {
			found = append(found, t)
		}
	}
	if len(found) > 0 {
		return &matches{version, found}
	}
	if p.none == nil || p.none.version != version {
		p.none = &matches{version: version}
	}
	return p.none
}

// add adds a pattern topic that has become live.
func (p *patterns) add(t *Topic) {
	p.mu.Lock()
	defer p.mu.Unlock()
	prefix := patternText(t)
	if p.live[prefix] == t {
		return
	}
	if p.live == nil {
		p.live, p.places = make(map[string]*Topic), make(map[*Topic]*list.Element)
	}
	p.live[prefix] = t
	p.lengths[len(prefix)]++
	p.version.Add(1)
}

// remove removes a pattern topic that is no longer live.
func (p *patterns) remove(t *Topic) {
	p.mu.Lock()
	defer p.mu.Unlock()
	prefix := patternText(t)
	delete(p.live, prefix)
	p.lengths[len(prefix)]--
	if e := p.places[t]; e != nil {
		p.unused.Remove(e)
		delete(p.places, t)
	}
	p.version.Add(1)
}

// patternText returns the text before the * of the pattern of t.
func patternText(t *Topic) string { return string(t.name[len(patternPrefix) : len(t.name)-1]) }

// leave notes that t has lost its last listener or pin.
func (p *patterns) leave(t *Topic, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live[patternText(t)] != t {
		return
	}
	if e := p.places[t]; e != nil {
		p.unused.Remove(e)
	}
	p.places[t] = p.unused.PushBack(unusedPattern{t, now})
}

// takeUnused returns the topic that has been unused for longest, if it has been so since
// before, or in any case if the limit of patterns is reached. The topic may be in use again.
func (p *patterns) takeUnused(before time.Time, limit int) *Topic {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.unused.Front()
	if e == nil || len(p.live) < limit && e.Value.(unusedPattern).since.After(before) {
		return nil
	}
	t := p.unused.Remove(e).(unusedPattern).topic
	delete(p.places, t)
	return t
}

// full reports whether there are limit patterns.
func (p *patterns) full(limit int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.live) >= limit
}

// dropPatterns drops pattern topics that have not been used for long, and others that are not
// in use while the limit of patterns is reached.
func (s *Topics) dropPatterns(limit int) {
	before := s.config.Now().Add(-keepPatterns)
	for t := s.patterns.takeUnused(before, limit); t != nil; t = s.patterns.takeUnused(before, limit) {
		s.drop(t, (*Topic).inUseLocked)
	}
}

// openPattern does what Open does, for a pattern topic.
func (s *Topics) openPattern(name pubsub.Topic, point ResumePoint) (Pin, error) {
	if pin, live := s.Pin(name, point); live {
		return pin, nil
	}
	if s.config.Heads == nil {
		return Pin{}, ErrNoPatterns
	}
	s.patterns.ordering.Lock()
	defer s.patterns.ordering.Unlock()
	if s.dropPatterns(s.config.MaxPatterns); s.patterns.full(s.config.MaxPatterns) && s.live(name) == nil {
		return Pin{}, pubsub.Errorf(pubsub.OverCapacity, "pattern limit of the server reached (%d): try again later", s.config.MaxPatterns)
	}
	t, err := s.locked(name, s.config.Heads.Newest())
	if err != nil {
		return Pin{}, err
	}
	defer t.mu.Unlock()
	s.patterns.add(t)
	return s.pinLocked(t, point), nil
}

// ErrNoPatterns refuses a pattern topic of a broker that does not have them.
var ErrNoPatterns = pubsub.Errorf(pubsub.TopicInvalid, "this server cannot subscribe to patterns, because its messages are in Redis: subscribe to topics by name")

// copy appends the message of e, which was just appended to the log of its topic, to a pattern
// topic, and returns the listeners to wake. The entries share their frames.
func (s *Topics) copy(t *Topic, e *Entry, now time.Time) []Listener {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dropped {
		return nil
	}
	before := int64(t.log.Bytes())
	t.log.tail.original = e
	t.log.Append(e.message)
	t.log.Expire(now)
	s.bytes.Add(int64(t.log.Bytes()) - before)
	s.queueLocked(t)
	return t.listeners.give()
}
