package remote

import (
	"slices"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// Shard is the name under which a store handles the messages of all topics as those of one
// topic: in the order of their offsets, and with a chain of their own. The messages have their
// real topics. A store has them only from a call of Head, Read or Behind for Shard on, and until
// some minutes after the last one. Clients cannot subscribe to this pattern.
const Shard pubsub.Topic = "\x01*"

// shard is how a node follows the messages of all topics, as long as it has pattern topics. They
// go to the logs of the patterns and to those of the topics in one step: then the position of a
// subscriber in the one can be compared with that in the other. So meanwhile the shard leads the
// topics: what the store pushes for a single topic is ignored.
//
// Before a topic or a pattern becomes live, the node reads the shard once more. Its log then
// begins at a place that all logs have reached.
//
// If a topic misses messages, because the shard had a gap, the node reads them from the store. The
// messages of the shard wait meanwhile.
//
// The node's goroutine owns a shard.
type shard struct {
	*Node
	f *follower // nil: there are no patterns; its head is that of the queue

	ready  bool             // the topics that were behind it are known
	opened bool             // it has reached the topics that were ahead of it
	behind []*follower      // these, until they are read
	queue  []pubsub.Message // read or pushed, not in the logs; without a topic: a gap up to its position
	done   pubsub.Position  // the logs have everything up to here
	upTo   pubsub.Position  // once the queue is empty, they have everything up to here, too
	stuck  bool             // the queue waits for a topic that is being read
	missed bool             // more was pushed than the queue has
	topics []*follower      // that wait for a read of the shard
}

// leads reports whether the messages of f come with the shard.
func (s *shard) leads(f *follower) bool {
	return s.f != nil && s.f.live && f != s.f && !topic.IsPresenceTopic(f.name)
}

// followers returns the live topics that the shard leads, sorted by name.
func (s *shard) followers() []*follower {
	return s.sorted(func(f *follower) bool { return f.live && s.leads(f) })
}

// open begins the shard at a head that was read, or was not because of err. It brings the topics
// up to date that are behind it, and reads the shard once more, because others may be ahead of it.
func (s *shard) open(f *follower, head pubsub.Position, err error) {
	switch {
	case s.followed[Shard] != f || f.live:
		return
	case err != nil:
		s.fail(f)
		return
	}
	s.f, f.head, s.done, f.live = f, head, head, true
	if len(s.followers()) == 0 {
		s.ready = true
		s.takeBuffer(f)
		s.release()
		return
	}
	s.catchUp(f)
	heads := make(map[pubsub.Topic]pubsub.Position)
	for _, t := range s.followers() {
		heads[t.name] = t.head
	}
	s.store.Behind(heads, func(behind []pubsub.Topic, err error) {
		switch {
		case s.f != f:
			return
		case err != nil:
			s.stop()
			return
		}
		for _, name := range behind {
			if t := s.followed[name]; t != nil && t.live {
				s.behind = append(s.behind, t)
				s.catchUp(t)
			}
		}
		if s.ready = true; s.missed {
			s.missed = false
			s.catchUp(f)
		}
		s.drain()
		s.release()
	})
}

// wait calls for a read of the shard, after which the attachments of a topic go on.
func (s *shard) wait(f *follower) {
	if !slices.Contains(s.topics, f) {
		s.topics = append(s.topics, f)
	}
	s.catchUp(s.f)
}

// add adds a message that was pushed, and is the next one.
func (s *shard) add(m pubsub.Message) {
	if s.stuck || !s.ready {
		s.missed = true // It is read later.
		return
	}
	s.queue = append(s.queue, m)
	s.f.head = m.Position
}

// splice adds what was read after the head of the queue.
func (s *shard) splice(p Page) {
	from := pubsub.Position{Epoch: p.Epoch, Offset: p.From}
	if s.f.passGap(from, s.stats) {
		s.queue = append(s.queue, pubsub.Message{Position: from})
	}
	if len(p.Messages) > 0 {
		s.queue = append(s.queue, p.Messages...)
		s.f.head = p.Messages[len(p.Messages)-1].Position
	}
	s.upTo = pubsub.Position{Epoch: p.Epoch, Offset: p.Last}
}

// drain takes messages from the queue into the logs, until one is of a topic that is being read.
func (s *shard) drain() {
	if !s.ready {
		return
	}
	n := 0
	for s.stuck = false; n < len(s.queue) && !s.stuck; {
		switch m := &s.queue[n]; {
		case m.Topic == "":
			s.deliver(s.queue[:n])
			s.passGap(m.Position)
			s.queue, n = s.queue[n+1:], 0
		case s.waitsFor(s.followed[m.Topic], m.Position):
			s.stuck = true
		default:
			n++
		}
	}
	s.deliver(s.queue[:n])
	if s.queue = s.queue[n:]; len(s.queue) == 0 {
		s.queue = nil
	}
}

// waitsFor reports whether a message of f, which may be nil, cannot be appended yet. Otherwise it
// moves the head of f to the message.
func (s *shard) waitsFor(f *follower, at pubsub.Position) bool {
	switch {
	case f == nil || !f.live:
		return false
	case f.reading || f.stale:
		return true
	case f.head.Epoch != at.Epoch:
		s.catchUp(f)
		return true
	}
	f.head.Offset = max(f.head.Offset, at.Offset)
	return false
}

func (s *shard) deliver(ms []pubsub.Message) {
	if len(ms) == 0 {
		return
	}
	s.done = ms[len(ms)-1].Position
	s.append(ms)
}

// passGap appends a gap to the logs of the patterns. The topics read what they miss.
func (s *shard) passGap(to pubsub.Position) {
	s.done = to
	for _, p := range s.config.Sink.Patterns() {
		s.config.Sink.Gap(p.Name(), to)
	}
	for _, f := range s.followers() {
		s.catchUp(f)
	}
}

// agrees reports whether no topic is behind the shard. Once the shard is opened, a pattern can then
// become live.
func (s *shard) agrees() bool {
	s.behind = slices.DeleteFunc(s.behind, func(f *follower) bool {
		return s.followed[f.name] != f || !f.reading && !f.stale
	})
	return s.ready && len(s.behind) == 0
}

// goOn drains the queue after a topic was read.
func (s *shard) goOn() {
	if !s.stuck && len(s.behind) == 0 {
		return
	}
	s.Post(func() {
		if s.drain(); s.stuck || s.f == nil {
			return
		}
		if s.missed {
			s.missed = false
			s.catchUp(s.f)
		}
		s.release()
	})
}

// release lets the attachments go on that wait for a read of the shard, once the logs have
// everything that was read.
func (s *shard) release() {
	f := s.f
	if f == nil || !s.agrees() || f.reading || s.stuck || s.missed {
		return
	}
	if s.upTo.Epoch == f.head.Epoch && s.upTo.Offset > f.head.Offset {
		f.head = s.upTo
	}
	s.done, s.opened = f.head, true
	topics := s.topics
	s.topics = nil
	for _, t := range topics {
		switch {
		case s.followed[t.name] != t:
		case t.live:
			pinAll(s.Node, t)
		default:
			openAt(s.Node, t, s.done)
		}
	}
	pinAll(s.Node, f)
}

// refuse refuses what waits for a read of the shard, which failed.
func (s *shard) refuse() {
	topics := s.topics
	s.topics = nil
	for _, t := range topics {
		if s.followed[t.name] == t {
			s.fail(t)
		}
	}
}

// clip limits a page of a topic that the shard leads to what the shard has reached. If they are in
// different epochs, the page has nothing but a gap up to there.
func (s *shard) clip(p Page) Page {
	if p.Epoch != s.done.Epoch {
		return Page{Epoch: s.done.Epoch, From: s.done.Offset}
	}
	p.From = min(p.From, s.done.Offset)
	for n, m := range p.Messages {
		if m.Position.Offset > s.done.Offset {
			p.Messages = p.Messages[:n]
			break
		}
	}
	return p
}

// check ends the shard if there are no more patterns.
func (s *shard) check() {
	if f := s.f; f != nil && s.ready && !f.reading && len(f.waiting)+len(s.topics) == 0 && len(s.config.Sink.Patterns()) == 0 {
		s.stop()
	}
}

// stop ends the shard. From then on the topics follow their own pushes.
func (s *shard) stop() {
	f := s.f
	s.fail(f)
	s.refuse()
	*s = shard{Node: s.Node}
	s.leave(f)
	compare(s.Node)
}

const (
	// maxResumed and maxResumedBytes limit what a client of a pattern is sent that the log does
	// not have. After that, it has to load its state again.
	maxResumed      = 1000
	maxResumedBytes = 1 << 20
)

// openPattern opens the log of a pattern and pins the resume point of a.
func (s *shard) openPattern(a *attaching) (topic.Pin, error) {
	from := a.attachment.From
	pin, err := s.config.Sink.Open(a.attachment.Topic, s.done, from)
	if err != nil || pin.Covered() {
		return pin, err
	}
	// The position may be that of a log that began later than this one, with no message between
	// the end of this one and there.
	if head := pin.Position(); head.Epoch == from.Since.Epoch && head.Offset < from.Since.Offset && from.Since.Offset <= s.done.Offset {
		from.Since = head
		pin.Release()
		return s.config.Sink.Open(a.attachment.Topic, s.done, from)
	}
	return pin, nil
}

// matching returns the messages of a page that a pattern matches. It returns false if they are too
// many to resume.
func matching(p pubsub.Pattern, ms []pubsub.Message) (all []pubsub.Message, ok bool) {
	bytes := 0
	for i := range ms {
		if p.Matches(ms[i].Topic) {
			all = append(all, ms[i])
			bytes += len(ms[i].Body.Data) + topic.Overhead
		}
	}
	return all, len(all) <= maxResumed && bytes <= maxResumedBytes
}
