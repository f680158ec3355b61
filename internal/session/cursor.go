package session

import "github.com/ikornaselur/notiflux/internal/wire"

// streamCursor is the stream cursor of a session: how far its client is in each topic.
type streamCursor struct {
	places []wire.CursorPlace // in byte order of the topics
}

// begin subscribes s to the topics of its request.
func (c *streamCursor) begin(s *Session, r Request) []Subscribed {
	c.places = make([]wire.CursorPlace, 0, len(r.Subscriptions))
	results := make([]Subscribed, 0, len(r.Subscriptions))
	for i, want := range r.Subscriptions {
		sub, resumed := s.group.subscribe(s, want.Topic, r.Pins[i], false)
		sub.set(latest, want.Latest)
		sub.cursorIndex, sub.claims = uint8(i), r.Claims.Identity()
		s.group.expiries.Set(sub, r.Claims.Until())
		c.places = append(c.places, wire.CursorPlace{Hash: sub.subscribers.topicHash(), Position: sub.cursor.Position()})
		results = append(results, Subscribed{Topic: want.Topic, Position: resumed.Position, Recovered: resumed.Recovered, Replay: resumed.Replay})
	}
	return results
}

// topicHash returns the hash of the topic for stream cursors. It computes the hash once.
func (t *topicSubscribers) topicHash() uint64 {
	if t.hash == 0 {
		t.hash = wire.TopicHash(t.topic.Name())
	}
	return t.hash
}

// update sets the place in every topic to the client's current position.
func (c *streamCursor) update(s *Session) {
	for _, sub := range s.subs.all {
		c.keep(sub)
	}
}

// keep sets the place in one topic to the client's current position.
func (c *streamCursor) keep(sub *subscription) {
	c.places[sub.cursorIndex].Position = sub.delivered()
}

// append appends the cursor in the form that clients send back.
func (c *streamCursor) append(dst []byte) []byte {
	return wire.AppendStreamCursor(dst, c.places)
}

// AppendCursor appends the stream cursor of the session: how far its client is after
// everything queued so far. Only sessions of streams have one.
func (s *Session) AppendCursor(dst []byte) []byte {
	c := s.extra.cursor
	c.update(s)
	return c.append(dst)
}
