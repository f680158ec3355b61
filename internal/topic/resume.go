package topic

import (
	"github.com/ikornaselur/notiflux"
)

// A ResumePoint says where to begin reading a topic. The zero ResumePoint is the tail:
// only messages that are published from now on.
type ResumePoint struct {
	Since notiflux.Position // after this position; without an epoch: not set
	Last  int               // at the newest messages, up to this number; ignored if Since is set

	// Connection is the name of the reader's connection. Messages that exclude it do not
	// count in Resumed.Replay. 0: it has none.
	Connection notiflux.Connection
}

// Resumed is where reading begins for a ResumePoint.
type Resumed struct {
	Cursor    Cursor
	Position  notiflux.Position // messages after it are read from Cursor
	Replay    int               // messages that the reader can read at once
	Recovered bool              // no message after ResumePoint.Since is missing; true also without Since
}

// Resume resumes at point in t, for one more session of a listener that has joined t.
func (s *Topics) Resume(t *Topic, point ResumePoint) Resumed {
	t.mu.Lock()
	defer t.mu.Unlock()
	return s.resumeLocked(t, point)
}

func (s *Topics) resumeLocked(t *Topic, point ResumePoint) Resumed {
	p := Resumed{Recovered: true}
	switch {
	case point.Since.Epoch != "":
		p.Cursor, p.Recovered = s.sinceLocked(t, point.Since)
		p.Position = point.Since
	case point.Last > 0:
		p.Cursor = t.log.Last(point.Last)
		p.Position = s.Position(p.Cursor.Offset())
	default:
		p.Cursor = t.log.Tail()
		p.Position = s.Position(t.log.Head())
	}
	if !p.Recovered {
		p.Position = s.Position(t.log.Head())
	}
	p.Replay = t.log.Count(p.Cursor)
	if point.Connection != 0 {
		p.Replay -= t.log.Excluded(p.Cursor, point.Connection)
	}
	return p
}

// sinceLocked returns the cursor after a position and whether the log covers it. If it
// does not, the cursor is the tail.
func (s *Topics) sinceLocked(t *Topic, since notiflux.Position) (Cursor, bool) {
	if since.Epoch != s.config.Epoch {
		return t.log.Tail(), false
	}
	return t.log.Since(since.Offset)
}

// Position returns the position of an offset such as that of [Cursor.Offset].
func (s *Topics) Position(offset uint64) notiflux.Position {
	return notiflux.Position{Epoch: s.config.Epoch, Offset: offset}
}

// Epoch returns the epoch of all positions.
func (s *Topics) Epoch() string { return s.config.Epoch }

// A History is a part of the log of a topic: Count messages from Cursor on, oldest first.
type History struct {
	Topic     *Topic // nil: the topic is not in memory, so Count is 0
	Cursor    Cursor
	Count     int
	Position  notiflux.Position // where to continue reading, or to subscribe from
	Recovered bool              // no message between since and Cursor is missing
	More      bool              // there are messages after Position
}

// Messages returns the messages. Callers must not change them.
func (y History) Messages() []*notiflux.Message {
	all := make([]*notiflux.Message, 0, y.Count)
	for c := y.Cursor; len(all) < y.Count; {
		entry, next, _ := c.Next()
		all, c = append(all, entry.Message()), next
	}
	return all
}

// History returns up to limit messages of a topic: the first ones after since, or the
// newest ones if since has no epoch. If the log does not cover since, History returns the
// oldest messages that it has, and Recovered is false. Reading creates no topic, but it
// renews or leaves a tombstone, so that a client can resume from the returned position.
func (s *Topics) History(name notiflux.Topic, since notiflux.Position, limit int) History {
	t, head := s.lookup(name)
	if t == nil {
		covered := since.Epoch == "" || since == s.Position(head)
		return History{Position: s.Position(head), Recovered: covered}
	}
	y := History{Topic: t, Cursor: t.log.Last(limit), Recovered: true}
	if since.Epoch != "" {
		if y.Cursor, y.Recovered = s.sinceLocked(t, since); !y.Recovered {
			y.Cursor = t.log.First()
		}
	}
	tail := t.log.Tail()
	t.mu.Unlock()
	end := y.Cursor
	for ; y.Count < limit && end != tail; y.Count++ {
		_, end, _ = end.Next()
	}
	y.More = end != tail
	y.Position = s.Position(end.Offset())
	if y.Recovered && since.Offset > y.Position.Offset {
		y.Position = since // since lies in a hole between two messages, and limit allowed none.
	}
	return y
}

// lookup returns the named topic with its lock held, or nil and the head that is known of
// a topic that is not in memory.
func (s *Topics) lookup(name notiflux.Topic) (*Topic, uint64) {
	for {
		s.mu.RLock()
		t := s.topics[name]
		s.mu.RUnlock()
		if t == nil {
			s.mu.Lock()
			if t = s.topics[name]; t == nil {
				defer s.mu.Unlock()
				return nil, s.tombstoneLocked(name)
			}
			s.mu.Unlock()
		}
		t.mu.Lock()
		if !t.dropped {
			return t, 0
		}
		t.mu.Unlock()
	}
}

// tombstoneLocked returns the head of a topic that is not in memory, from its tombstone
// or the floor. It renews the tombstone, or adds one if there is room.
func (s *Topics) tombstoneLocked(name notiflux.Topic) uint64 {
	now := s.config.Now()
	if head, ok := s.tombstones.use(name, now); ok {
		return head
	}
	head := s.tombstones.floor
	if s.roomLocked() {
		s.tombstones.put(name, head, now)
	}
	return head
}
