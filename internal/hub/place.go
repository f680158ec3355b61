package hub

import (
	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/topiclog"
)

// A Start says from where on a topic is to be read. The zero Start is from now on.
type Start struct {
	Since notiflux.Position // behind this position; without an epoch: not asked for
	Last  int               // the last messages, up to so many; Since overrides it

	// Connection is the reader's own name: messages that exclude it do not count as
	// replayed. 0: it has none.
	Connection notiflux.Connection
}

// A Place is where a reader of a topic begins.
type Place struct {
	Cursor    topiclog.Cursor
	Position  notiflux.Position // everything after it is read from Cursor
	Replay    int               // messages for the reader that are there already
	Recovered bool              // nothing after Start.Since is missing; true also if that was not asked for
}

// Place returns the place where start leads, for one more session of a listener
// that has joined the topic already.
func (h *Hub) Place(t *Topic, start Start) Place {
	t.mu.Lock()
	defer t.mu.Unlock()
	return h.placeLocked(t, start)
}

func (h *Hub) placeLocked(t *Topic, start Start) Place {
	p := Place{Recovered: true}
	switch {
	case start.Since.Epoch != "":
		p.Cursor, p.Recovered = h.sinceLocked(t, start.Since)
		p.Position = start.Since
	case start.Last > 0:
		p.Cursor = t.log.Last(start.Last)
		p.Position = h.Position(p.Cursor.Offset())
	default:
		p.Cursor = t.log.Tail()
		p.Position = h.Position(t.log.Head())
	}
	if !p.Recovered {
		p.Position = h.Position(t.log.Head())
	}
	p.Replay = t.log.Count(p.Cursor)
	if start.Connection != 0 {
		p.Replay -= t.log.Excluded(p.Cursor, start.Connection)
	}
	return p
}

// sinceLocked returns the cursor behind a position and whether it is covered; if
// not, the tail.
func (h *Hub) sinceLocked(t *Topic, since notiflux.Position) (topiclog.Cursor, bool) {
	if since.Epoch != h.config.Epoch {
		return t.log.Tail(), false
	}
	return t.log.Since(since.Offset)
}

// Position returns the position of an offset, as [topiclog.Cursor.Offset] gives it.
func (h *Hub) Position(offset uint64) notiflux.Position {
	return notiflux.Position{Epoch: h.config.Epoch, Offset: offset}
}

// Epoch returns the epoch of all positions.
func (h *Hub) Epoch() string { return h.config.Epoch }

// A History is a part of a topic's log: Count messages from Cursor on, oldest first.
type History struct {
	Topic     *Topic // nil: the hub does not have the topic, so Count is 0
	Cursor    topiclog.Cursor
	Count     int
	Position  notiflux.Position // where to go on reading, or to subscribe from
	Recovered bool              // nothing between what was asked for and Cursor is missing
	More      bool              // there are messages after Position
}

// Messages returns the messages, which nobody must change.
func (y History) Messages() []*notiflux.Message {
	all := make([]*notiflux.Message, 0, y.Count)
	for c := y.Cursor; len(all) < y.Count; {
		entry, next, _ := c.Next()
		all, c = append(all, entry.Message()), next
	}
	return all
}

// History returns up to limit messages of a topic: the first ones after since, or
// without one (no epoch) the last ones. If since is not covered, those are the oldest
// that there are. Reading makes no topic, but the position that it returns is
// remembered like that of one.
func (h *Hub) History(name notiflux.Topic, since notiflux.Position, limit int) History {
	t, head := h.lookup(name)
	if t == nil {
		covered := since.Epoch == "" || since == h.Position(head)
		return History{Position: h.Position(head), Recovered: covered}
	}
	y := History{Topic: t, Cursor: t.log.Last(limit), Recovered: true}
	if since.Epoch != "" {
		if y.Cursor, y.Recovered = h.sinceLocked(t, since); !y.Recovered {
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
	y.Position = h.Position(end.Offset())
	if y.Recovered && since.Offset > y.Position.Offset {
		y.Position = since // Nothing came after it.
	}
	return y
}

// lookup returns a topic with its lock held, or nil and how far it came.
func (h *Hub) lookup(name notiflux.Topic) (*Topic, uint64) {
	for {
		h.mu.RLock()
		t := h.topics[name]
		h.mu.RUnlock()
		if t == nil {
			h.mu.Lock()
			if t = h.topics[name]; t == nil {
				defer h.mu.Unlock()
				return nil, h.rememberLocked(name)
			}
			h.mu.Unlock()
		}
		t.mu.Lock()
		if !t.forgotten {
			return t, 0
		}
		t.mu.Unlock()
	}
}

// rememberLocked returns how far a topic came that the hub does not have, and
// sees that this stays known, if there is room.
func (h *Hub) rememberLocked(name notiflux.Topic) uint64 {
	now := h.config.Now()
	if head, ok := h.past.renew(name, now); ok {
		return head
	}
	head := h.past.floor
	if h.roomLocked() {
		h.past.put(name, head, now)
	}
	return head
}
