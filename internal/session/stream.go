package session

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// A Stream is what an event stream is to give. Its token was judged before: it may
// have all of its topics.
type Stream struct {
	Topics []Topic   // at least one, each once
	Latest bool      // when the client is behind, only the newest message counts
	Until  time.Time // when the subscriptions end; zero: never
}

// A Topic is one topic of a [Stream], and from where on.
type Topic struct {
	Name        notiflux.Topic
	ResumePoint topic.ResumePoint
}

// A set is the topics of an event stream, and how far the client is in each: what
// its cursor says.
type set struct {
	connection notiflux.Connection
	places     []wire.CursorPlace // in byte order of the topics
}

// streamRetry is after how long clients reconnect whose stream broke off, at least
// and at most: at once for a person, not all in the same moment for a server.
const (
	minStreamRetry = time.Second
	maxStreamRetry = 3 * time.Second
)

// NewStream returns a session on conn that has no commands: it is subscribed to the
// topics of a stream, and tells that first. encoding is that of a stream.
func (g *Group) NewStream(conn Conn, encoding notiflux.Encoding, stream Stream) *Session {
	s := g.New(conn, encoding)
	s.set = &set{connection: g.newConnection()}
	slices.SortFunc(stream.Topics, func(a, b Topic) int { return strings.Compare(string(a.Name), string(b.Name)) })
	topics := make([]wire.Beginning, 0, len(stream.Topics))
	for i, topic := range stream.Topics {
		sub, resumed, err := g.join(s, topic.Name, topic.ResumePoint)
		if err != nil {
			s.unsubscribeAll()
			s.end(endOverCapacity)
			return s
		}
		sub.latest, sub.place = stream.Latest, uint8(i)
		g.endAt(sub, stream.Until)
		s.set.places = append(s.set.places, wire.CursorPlace{Hash: sub.feed.hashed(), Offset: sub.cursor.Offset()})
		topics = append(topics, beginning(topic.Name, resumed))
	}
	s.rotate()
	s.answerInStream(wire.Object{
		Event: "hello",
		JSON:  wire.AppendHello(nil, s.set.connection.String(), topics),
		Retry: g.between(minStreamRetry, maxStreamRetry),
	})
	return s
}

// hashed returns the hash of the topic, and keeps it for its messages.
func (f *feed) hashed() uint64 {
	if f.hash == 0 {
		f.hash = wire.TopicHash(f.topic.Name())
	}
	return f.hash
}

// answerInStream queues an object with the cursor that holds after it.
func (s *Session) answerInStream(o wire.Object) {
	o.Cursor = s.appendCursor(nil)
	s.setAnswers(wire.AppendObject(s.answers, s.encoding, o))
	s.conn.Dirty()
}

// appendCursor appends the cursor of the set.
func (s *Session) appendCursor(dst []byte) []byte {
	return wire.AppendCursor(dst, s.group.config.Topics.Epoch(), s.set.places)
}

// locate has the set say how far the client is in each topic, with all that it was
// told of so far.
func (s *Session) locate() {
	for _, sub := range s.subs {
		s.set.places[sub.place].Offset = sub.given()
	}
}

// nextOfSet is Next of an event stream of several topics: no frame of it is shared
// as a whole.
func (s *Session) nextOfSet(p *pull) []byte {
	for {
		p.buffer = append(p.buffer[:0], s.answers...)
		s.joinSet(p)
		if len(p.buffer) > 0 {
			return p.buffer
		}
		others := p.passed >= maxPassed
		s.Wrote(0) // Subscriptions that were read before they were asked, or hold nothing for this session.
		switch {
		case s.firstDirty == nil:
			return s.nothing()
		case others:
			s.conn.Dirty()
			return nil
		}
	}
}

// joinSet appends what there is to read to the buffer: each message as all share it,
// but for its end, the cursor of this session.
func (s *Session) joinSet(p *pull) {
	s.locate()
	var room [wire.MaxCursorBytes]byte
	s.share(p, func(sub *subscription, at topic.Cursor, limit int) topic.Cursor {
		part := part{sub: sub, from: at, end: at, at: len(p.buffer), sizes: len(p.sizes)}
		for len(p.buffer)-part.at < limit {
			entry, next, ok := part.end.Next()
			if !ok {
				break
			}
			excluded := s.excluded(entry.Message())
			if excluded && p.passed >= maxPassed {
				p.taken = maxBatch // The write is full.
				break
			}
			s.set.places[sub.place].Offset = next.Offset()
			part.end = next
			if excluded {
				p.passed++
				p.sizes = append(p.sizes, 0)
				continue
			}
			frame := wire.WithoutCursor(s.group.batches.frame(entry, sub), s.encoding)
			before := len(p.buffer)
			p.buffer = wire.AppendWithCursor(p.buffer, frame, s.encoding, s.appendCursor(room[:0]))
			p.sizes = append(p.sizes, len(p.buffer)-before)
			part.messages++
		}
		part.bytes = len(p.buffer) - part.at
		p.parts = append(p.parts, part)
		return part.end
	})
}

// between returns a random time from least to most.
func (g *Group) between(least, most time.Duration) time.Duration {
	if most <= least {
		return least
	}
	return least + time.Duration(g.config.Random.Int64N(int64(most-least)))
}

// newConnection returns a name for a connection: no other has it at the same time,
// but by an accident of one in 2⁶⁴.
func (g *Group) newConnection() notiflux.Connection {
	return notiflux.Connection(g.config.Random.Uint64N(math.MaxUint64) + 1)
}

// systemRandom is the random source of package rand, which the system seeds.
type systemRandom struct{}

func (systemRandom) Uint64() uint64 { return rand.Uint64() }
