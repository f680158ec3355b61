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

// A Stream says what a client of the dialects SSE and NDJSON reads. The caller has
// verified that its token allows all topics.
type Stream struct {
	Topics []StreamTopic // at least one, each once
	Latest bool          // mode latest: a client that is behind gets only the newest message
	Until  time.Time     // when the subscriptions end; zero means never
}

// A StreamTopic is one topic of a [Stream], and where it begins.
type StreamTopic struct {
	Name        notiflux.Topic
	ResumePoint topic.ResumePoint
}

// streamState is what only sessions of streams have: the contents of the stream cursor.
type streamState struct {
	connection notiflux.Connection
	offsets    []wire.CursorOffset // in byte order of the topics
}

// A client whose stream breaks reconnects after a random time between these two. It is
// short for a person and spreads the load of a server.
const (
	minStreamRetry = time.Second
	maxStreamRetry = 3 * time.Second
)

// NewStream returns a session on conn that has no commands. It subscribes to the topics of
// stream and first sends a hello. encoding is one of SSE or NDJSON, chunked or not.
func (g *Group) NewStream(conn Conn, encoding notiflux.Encoding, stream Stream) *Session {
	s := g.New(conn, encoding)
	s.stream = &streamState{connection: g.newConnection()}
	slices.SortFunc(stream.Topics, func(a, b StreamTopic) int { return strings.Compare(string(a.Name), string(b.Name)) })
	topics := make([]wire.SubscribedTopic, 0, len(stream.Topics))
	for i, topic := range stream.Topics {
		sub, resumed, err := g.subscribe(s, topic.Name, topic.ResumePoint)
		if err != nil {
			s.unsubscribeAll()
			s.closeWith(closeOverCapacity)
			return s
		}
		sub.latest, sub.cursorIndex = stream.Latest, uint8(i)
		g.expireAt(sub, stream.Until)
		s.stream.offsets = append(s.stream.offsets, wire.CursorOffset{Hash: sub.subscribers.topicHash(), Offset: sub.cursor.Offset()})
		topics = append(topics, subscribedTopic(topic.Name, resumed))
	}
	s.rotate()
	s.answerInStream(wire.Object{
		Event: "hello",
		JSON:  wire.AppendHello(nil, s.stream.connection.String(), topics),
		Retry: g.randomBetween(minStreamRetry, maxStreamRetry),
	})
	return s
}

// topicHash returns the hash of the topic for stream cursors. It computes it once.
func (t *topicSubscribers) topicHash() uint64 {
	if t.hash == 0 {
		t.hash = wire.TopicHash(t.topic.Name())
	}
	return t.hash
}

// answerInStream queues an object with the current stream cursor.
func (s *Session) answerInStream(o wire.Object) {
	o.Cursor = s.appendStreamCursor(nil)
	s.setAnswers(wire.AppendObject(s.answers, s.encoding, o))
	s.conn.Dirty()
}

// appendStreamCursor appends the stream cursor of the session.
func (s *Session) appendStreamCursor(dst []byte) []byte {
	return wire.AppendStreamCursor(dst, s.group.config.Topics.Epoch(), s.stream.offsets)
}

// updateOffsets sets the offsets of the stream cursor to what the client has so far.
func (s *Session) updateOffsets() {
	for _, sub := range s.subs {
		s.stream.offsets[sub.cursorIndex].Offset = sub.deliveredOffset()
	}
}

// nextOfStream is Next for a stream of several topics. Each of its frames has a stream
// cursor of its own.
func (s *Session) nextOfStream(w *write) []byte {
	for {
		w.buffer = append(w.buffer[:0], s.answers...)
		s.appendStreamMessages(w)
		if len(w.buffer) > 0 {
			return w.buffer
		}
		others := w.excluded >= maxExcluded
		s.Wrote(0) // Unlists the subscriptions that are at their tail, and passes excluded messages.
		switch {
		case s.firstDirty == nil:
			return s.nothing()
		case others:
			s.conn.Dirty()
			return nil
		}
	}
}

// appendStreamMessages appends unread messages of all topics to the write. Each frame is
// the shared one, except for the stream cursor at its end.
func (s *Session) appendStreamMessages(w *write) {
	s.updateOffsets()
	var room [wire.MaxStreamCursorBytes]byte
	s.fillInTurns(w, func(sub *subscription, at topic.Cursor, limit int) topic.Cursor {
		seg := segment{sub: sub, from: at, end: at, at: len(w.buffer), sizes: len(w.sizes)}
		for len(w.buffer)-seg.at < limit {
			entry, next, ok := seg.end.Next()
			if !ok {
				break
			}
			excluded := s.excluded(entry.Message())
			if excluded && w.excluded >= maxExcluded {
				w.messageBytes = maxBatch // The write is full.
				break
			}
			s.stream.offsets[sub.cursorIndex].Offset = next.Offset()
			seg.end = next
			if excluded {
				w.excluded++
				w.sizes = append(w.sizes, 0)
				continue
			}
			frame := wire.WithoutCursor(s.group.batches.frame(entry, sub), s.encoding)
			before := len(w.buffer)
			w.buffer = wire.AppendWithCursor(w.buffer, frame, s.encoding, s.appendStreamCursor(room[:0]))
			w.sizes = append(w.sizes, len(w.buffer)-before)
			seg.messages++
		}
		seg.bytes = len(w.buffer) - seg.at
		w.segments = append(w.segments, seg)
		return seg.end
	})
}

// randomBetween returns a random duration in [least, most).
func (g *Group) randomBetween(least, most time.Duration) time.Duration {
	if most <= least {
		return least
	}
	return least + time.Duration(g.config.Random.Int64N(int64(most-least)))
}

// newConnection returns a random name for a connection, of 64 bits.
func (g *Group) newConnection() notiflux.Connection {
	return notiflux.Connection(g.config.Random.Uint64N(math.MaxUint64) + 1)
}

// systemRandom is the random source of package rand, seeded by the system.
type systemRandom struct{}

func (systemRandom) Uint64() uint64 { return rand.Uint64() }
