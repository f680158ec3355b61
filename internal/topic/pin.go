package topic

import (
	"slices"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// A Pin keeps a topic in memory and a place in its log readable, from the moment a resume
// point is looked up until a subscriber takes its cursor. It does not stop the log from
// dropping messages; [Pin.Lag] says how much only the pin keeps in memory.
//
// Exactly one of Join, Take and Release ends a pin. Until then several goroutines may call
// the other methods. A Pin may be copied while nothing uses it; from then on only the copy
// counts.
type Pin struct {
	// Immutable until the pin ends.
	topics *Topics
	topic  *Topic
	point  ResumePoint

	// Guarded by topic.mu.
	at      Cursor // zero once the pin is abandoned, which means the tail
	covered bool   // nothing that point asks for is missing
	missing int    // how many of the last messages that point asks for are not in the log
	final   bool   // nothing can be prepended; see Wants
}

// pinLocked pins point in t, whose lock is held.
func (s *Topics) pinLocked(t *Topic, point ResumePoint) Pin {
	p := Pin{topics: s, topic: t, point: point, covered: true}
	head := t.log.Head()
	switch {
	case point.Since.Epoch != "":
		p.at, p.covered = t.log.Since(point.Since)
		if p.final = p.covered || point.Since.Epoch != head.Epoch || point.Since.Offset > head.Offset; !p.final {
			p.at = t.log.First() // Messages from a store are prepended here.
		}
	case !point.knows(head.Epoch):
		p.at, p.covered, p.final = t.log.Tail(), false, true
	case point.Last > 0:
		p.at = t.log.Last(point.Last)
		p.missing = point.Last - t.log.Count(p.at)
		p.covered = p.missing == 0
		p.final = p.covered
	default:
		p.at, p.final = t.log.Tail(), true
	}
	t.pins++
	return p
}

// Join makes l a listener of the topic, takes the cursor and ends the pin, in one step. l
// is woken for every later message. A listener joins a topic at most once.
func (p *Pin) Join(l Listener) (*Topic, Resumed) { return p.end(l) }

// Take is Join for another subscriber of a listener that has already joined the topic.
func (p *Pin) Take() (*Topic, Resumed) { return p.end(nil) }

func (p *Pin) end(l Listener) (*Topic, Resumed) {
	t := p.topic
	if order := &p.topics.patterns.order; t.name.IsPattern() { // No message is in some of its logs, and not yet in others.
		order.Lock()
		defer order.Unlock()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if l != nil {
		t.listeners.add(l)
	}
	return t, p.endLocked()
}

// Release ends the pin without a subscriber. Releasing the zero Pin, or a pin that has
// ended, does nothing.
func (p *Pin) Release() {
	t, s := p.topic, p.topics
	if t == nil {
		return
	}
	t.mu.Lock()
	t.pins--
	idle := s.idleLocked(t)
	t.mu.Unlock()
	*p = Pin{}
	s.dropIfIdle(t, idle)
}

// endLocked ends the pin and returns where its subscriber begins to read.
//
// A position is no longer covered once a marker follows it. A subscriber without a position
// may meet the marker later.
func (p *Pin) endLocked() Resumed {
	t := p.topic
	at := p.cursorLocked()
	r := Resumed{Cursor: at, Position: at.Position(), Replay: t.log.Count(at)}
	if p.point.Connection != 0 {
		r.Replay -= t.log.Excluded(at, p.point.Connection)
	}
	if p.point.Since.Epoch != "" {
		r.Position = p.point.Since
		r.Recovered = p.covered && at.at.segment == t.log.tail.segment
	} else {
		known := p.point.knows(r.Position.Epoch)
		p.point.skip(&r)
		r.Recovered = known && p.point.knows(r.Position.Epoch) // skip may have passed a marker.
	}
	if !r.Recovered {
		r.Cursor, r.Position, r.Replay = t.log.Tail(), t.log.Head(), 0
	}
	t.pins--
	*p = Pin{}
	return r
}

// knows reports whether Epochs allows a topic in this epoch to count as covered.
func (p *ResumePoint) knows(epoch string) bool {
	return len(p.Epochs) == 0 || slices.Contains(p.Epochs, epoch)
}

// skip moves r past the oldest messages if more can be read than p asks for, because some
// were appended after p was pinned. p has no position.
func (p *ResumePoint) skip(r *Resumed) {
	for r.Replay > p.Last {
		entry, next, ok := r.Cursor.Next()
		if !ok {
			return
		}
		if !entry.IsMarker() && (p.Connection == 0 || entry.message.Exclude != p.Connection) {
			r.Replay--
		}
		r.Cursor, r.Position = next, next.Position()
	}
}

// cursorLocked returns the cursor at the pinned place.
func (p *Pin) cursorLocked() Cursor {
	if p.at == (Cursor{}) {
		return p.topic.log.Tail()
	}
	return p.at
}

// Covered reports whether everything that the resume point asks for is in the log: every
// message after its position, or as many of the newest messages as it asks for. It is false
// if the topic's epoch is not in ResumePoint.Epochs.
func (p *Pin) Covered() bool {
	p.topic.mu.Lock()
	defer p.topic.mu.Unlock()
	return p.covered
}

// Wants reports whether messages may be prepended. A broker with a store then reads the
// missing ones. Wants is false if the pin is covered or abandoned, or if no message could
// cover it: its position is in another epoch than the log or beyond the log's head, or the
// topic's epoch is not in ResumePoint.Epochs.
func (p *Pin) Wants() bool {
	p.topic.mu.Lock()
	defer p.topic.mu.Unlock()
	return !p.final
}

// Position returns the position of the pinned place. Prepended messages end there.
func (p *Pin) Position() pubsub.Position {
	p.topic.mu.Lock()
	defer p.topic.mu.Unlock()
	return p.cursorLocked().Position()
}

// Lag returns the size in bytes of the entries that only the pin keeps in memory; see
// [Log.Lag]. It is 0 for the zero Pin.
func (p *Pin) Lag() uint64 {
	if p.topic == nil {
		return 0
	}
	p.topic.mu.Lock()
	defer p.topic.mu.Unlock()
	return p.topic.log.Lag(p.cursorLocked())
}

// Abandon gives up the pinned place, so that the pin keeps no message in memory. From then
// on the pin means the tail: its subscriber reads only new messages, nothing counts as
// covered, and nothing is prepended. The topic stays in memory. Abandoning the zero Pin
// does nothing.
func (p *Pin) Abandon() {
	if p.topic == nil {
		return
	}
	p.topic.mu.Lock()
	defer p.topic.mu.Unlock()
	p.at, p.covered, p.missing, p.final = Cursor{}, false, 0, true
}
