package topic

import "github.com/ikornaselur/notiflux/internal/pubsub"

// A History is a part of a topic's log: Count messages from Cursor on, oldest first.
type History struct {
	Topic     *Topic // nil: the messages are not in a log; see [HistoryOf]
	Cursor    Cursor
	Count     int
	Position  pubsub.Position // where to continue reading, or to subscribe from
	Recovered bool            // no message between since and Cursor is missing
	More      bool            // there are messages after Position
}

// Messages returns the messages. Callers must not change them.
func (y History) Messages() []*pubsub.Message {
	all := make([]*pubsub.Message, 0, y.Count)
	for c := y.Cursor; len(all) < y.Count; {
		entry, next, _ := c.Next()
		all, c = append(all, entry.Message()), next
	}
	return all
}

// HistoryOf returns a History of ms, which a broker has read from its store, in order. from
// is the position before the first of them.
func HistoryOf(from pubsub.Position, ms []pubsub.Message) History {
	s := &segment{epoch: from.Epoch}
	end := &Entry{seq: origin + uint64(len(ms)), previous: from.Offset, segment: s}
	if len(ms) > 0 {
		end.previous = ms[len(ms)-1].Position.Offset
	}
	y := History{Cursor: Cursor{end}, Count: len(ms), Position: Cursor{end}.Position(), Recovered: true}
	for i := len(ms) - 1; i >= 0; i-- {
		e := &Entry{seq: origin + uint64(i), previous: from.Offset, segment: s, message: ms[i]}
		if i > 0 {
			e.previous = ms[i-1].Position.Offset
		}
		e.next.Store(y.Cursor.at)
		y.Cursor = Cursor{e}
	}
	return y
}

// First returns the first n messages of y, copied, so that they do not keep the others in
// memory. n must not exceed y.Count.
func (y History) First(n int) History {
	ms := make([]pubsub.Message, n)
	c := y.Cursor
	for i := range ms {
		entry, next, _ := c.Next()
		ms[i], c = *entry.Message(), next
	}
	first := HistoryOf(y.Cursor.Position(), ms)
	first.Recovered, first.More = y.Recovered, y.More || n < y.Count
	return first
}

// History returns up to limit messages of a topic: the first ones after since, or the
// newest ones if since has no epoch. If the log does not cover since, History returns the
// oldest messages after the last marker, and Recovered is false. Reading does not create a
// topic, but it renews or adds a tombstone, so that a client can resume from the returned
// position. Without Config.Heads, History returns the zero History for a topic that is not
// live.
func (s *Topics) History(name pubsub.Topic, since pubsub.Position, limit int) History {
	t, head := s.lookup(name)
	if t == nil {
		covered := head.Epoch != "" && (since.Epoch == "" || since == head)
		return History{Position: head, Recovered: covered}
	}
	y := History{Topic: t, Cursor: t.log.Last(limit), Recovered: true}
	if since.Epoch != "" {
		if y.Cursor, y.Recovered = t.log.Since(since); !y.Recovered {
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
	y.Position = end.Position()
	if y.Recovered && since.Offset > y.Position.Offset {
		y.Position = since // since lies in a gap between offsets, after the last message.
	}
	return y
}

// lookup returns the named topic with its lock held. If the topic is not in memory, lookup
// returns nil and the topic's head, if it is stored.
func (s *Topics) lookup(name pubsub.Topic) (*Topic, pubsub.Position) {
	for {
		if t := s.live(name); t != nil {
			return t, pubsub.Position{}
		}
		if s.config.Heads == nil {
			return nil, pubsub.Position{}
		}
		s.mu.Lock()
		if s.topics[name] == nil {
			defer s.mu.Unlock()
			return nil, s.tombstoneLocked(name)
		}
		s.mu.Unlock()
	}
}

// tombstoneLocked returns the head of a topic that is not in memory. It renews the topic's
// tombstone, or adds one if there is room.
func (s *Topics) tombstoneLocked(name pubsub.Topic) pubsub.Position {
	head, known := s.config.Heads.Use(name)
	if !known && s.roomLocked() {
		s.config.Heads.Put(name, head)
	}
	return head
}
