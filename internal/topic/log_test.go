package topic_test

import (
	"runtime"
	"sync"
	"testing"
	"time"
	"weak"

	"pgregory.net/rapid"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

func message(offset uint64, size int, ordered time.Time) pubsub.Message {
	return pubsub.Message{Topic: "t", Position: at(offset), Time: ordered, Body: pubsub.Body{Data: make([]byte, size)}}
}

// model is a simple log: a slice of all messages ever appended, and an index.
type model struct {
	limits  topic.Limits
	all     []pubsub.Message
	first   int // the log holds all[first:]
	floor   uint64
	evicted uint64
}

func (m *model) held() []pubsub.Message { return m.all[m.first:] }

func (m *model) drop() {
	m.evicted = m.all[m.first].Position.Offset
	m.first++
}

func (m *model) bytes(ms []pubsub.Message) (n uint64) {
	for _, x := range ms {
		n += uint64(len(x.Body.Data)) + topic.Overhead
	}
	return n
}

func (m *model) head() uint64 {
	if len(m.all) == 0 {
		return m.floor
	}
	return m.all[len(m.all)-1].Position.Offset
}

// reader is a cursor, and the index in model.all of the message that it should read next.
type reader struct {
	cursor topic.Cursor
	next   int
}

func TestLogAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{
			limits: topic.Limits{
				Count: rapid.SampledFrom([]int{0, 1, 3, 8, 50}).Draw(t, "count"),
				Bytes: rapid.SampledFrom([]uint64{0, 600, 3000, 30000}).Draw(t, "bytes"),
				Age:   rapid.SampledFrom([]time.Duration{0, 10 * time.Second}).Draw(t, "age"),
			},
			floor: rapid.Uint64Range(0, 3).Draw(t, "floor"),
		}
		m.evicted = m.floor
		log := topic.NewLogs(m.limits, nil).New(at(m.floor))
		now := time.Now()
		var readers []*reader
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				for range rapid.SampledFrom([]int{1, 2, 40}).Draw(t, "messages") {
					x := message(m.head()+rapid.Uint64Range(1, 3).Draw(t, "hole"), rapid.IntRange(0, 500).Draw(t, "size"), now)
					x.Exclude = rapid.SampledFrom([]pubsub.Connection{0, 0, 1, 2}).Draw(t, "exclude")
					log.Append(x)
					m.all = append(m.all, x)
					for m.limits.Count > 0 && len(m.held()) > m.limits.Count || m.limits.Bytes > 0 && m.bytes(m.held()) > m.limits.Bytes && len(m.held()) > 1 {
						m.drop()
					}
				}
			},
			"expire": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(0, 8).Draw(t, "seconds")) * time.Second)
				for log.Expire(now) {
				}
				for m.limits.Age > 0 && len(m.held()) > 0 && now.Sub(m.held()[0].Time) >= m.limits.Age {
					m.drop()
				}
			},
			"drop": func(*rapid.T) {
				log.DropOldest()
				if len(m.held()) > 0 {
					m.drop()
				}
			},
			"read live": func(*rapid.T) {
				readers = append(readers, &reader{log.Tail(), len(m.all)})
			},
			"resume": func(t *rapid.T) {
				offset := rapid.Uint64Range(0, m.head()+2).Draw(t, "since")
				cursor, covered := log.Since(at(offset))
				if want := offset >= m.evicted && offset <= m.head(); covered != want {
					t.Fatalf("Since(%d) covered = %v, want %v", offset, covered, want)
				}
				next := len(m.all)
				for covered && next > 0 && m.all[next-1].Position.Offset > offset {
					next--
				}
				readers = append(readers, &reader{cursor, next})
			},
			"last": func(t *rapid.T) {
				n := rapid.IntRange(0, 60).Draw(t, "n")
				readers = append(readers, &reader{log.Last(n), len(m.all) - min(n, len(m.held()))})
			},
			"first": func(*rapid.T) {
				readers = append(readers, &reader{log.First(), m.first})
			},
			"jump": func(*rapid.T) {
				for _, r := range readers {
					if r.next < len(m.all) {
						r.next = len(m.all) - 1
					}
					r.cursor = log.Newest(r.cursor)
				}
			},
			"read": func(t *rapid.T) {
				if len(readers) == 0 {
					return
				}
				readers[rapid.IntRange(0, len(readers)-1).Draw(t, "reader")].read(t, m)
			},
			"": func(t *rapid.T) {
				if log.Len() != len(m.held()) || log.Bytes() != m.bytes(m.held()) || log.Head() != at(m.head()) {
					t.Fatalf("log holds %d messages, %d bytes, head %d; want %d, %d, %d",
						log.Len(), log.Bytes(), log.Head().Offset, len(m.held()), m.bytes(m.held()), m.head())
				}
				for _, r := range readers {
					r.check(t, log, m)
				}
			},
		})
		for _, r := range readers {
			for r.next < len(m.all) {
				r.read(t, m)
			}
			if !r.cursor.AtTail() {
				t.Fatal("a reader that read everything is not at the tail")
			}
		}
	})
}

// check compares what the log reports about the cursor of r with the model.
func (r *reader) check(t *rapid.T, log *topic.Log, m *model) {
	if got, want := log.Count(r.cursor), len(m.all)-r.next; got != want {
		t.Fatalf("Count = %d, want %d", got, want)
	}
	if r.next >= m.first {
		for _, x := range []pubsub.Connection{1, 2, 3} {
			want := 0
			for _, message := range m.all[r.next:] {
				if message.Exclude == x {
					want++
				}
			}
			if got := log.Excluded(r.cursor, x); got != want {
				t.Fatalf("Excluded of %v = %d, want %d", x, got, want)
			}
		}
	}
	given := m.floor
	if r.next > 0 {
		given = m.all[r.next-1].Position.Offset
	}
	if got := r.cursor.Position().Offset; got != given {
		t.Fatalf("Offset = %d, want %d", got, given)
	}
	var lag uint64
	if r.next < m.first {
		lag = m.bytes(m.all[r.next:m.first])
	}
	if got := log.Lag(r.cursor); got != lag {
		t.Fatalf("Lag = %d, want %d", got, lag)
	}
}

func (r *reader) read(t *rapid.T, m *model) {
	entry, next, ok := r.cursor.Next()
	if want := r.next < len(m.all); ok != want {
		t.Fatalf("Next = %v, want %v", ok, want)
	}
	if !ok {
		return
	}
	if got, want := entry.Message().Position.Offset, m.all[r.next].Position.Offset; got != want {
		t.Fatalf("read offset %d, want %d", got, want)
	}
	r.cursor, r.next = next, r.next+1
}

// A log that dropped its last message does not keep it in memory.
func TestALogThatIsEmptyHoldsNothing(t *testing.T) {
	log := topic.NewLogs(topic.Limits{Age: time.Second}, nil).New(at(0))
	cursor := log.Tail()
	now := time.Now()
	for offset := range uint64(40) {
		log.Append(message(offset+1, 1<<10, now))
	}
	newest, _, _ := log.Newest(cursor).Next()
	gone := weak.Make(newest)
	cursor, newest = log.Newest(cursor), nil
	log.Expire(now.Add(time.Second))
	if e, _, ok := log.Newest(cursor).Next(); !ok || e.Message().Position.Offset != 40 {
		t.Error("a reader of an empty log does not find the newest message that it has not read")
	}
	cursor = topic.Cursor{}
	runtime.GC()
	if gone.Value() != nil {
		t.Error("an empty log holds a message")
	}
	runtime.KeepAlive(log)
}

func TestReadAndDroppedEntriesAreFreed(t *testing.T) {
	log := topic.NewLogs(topic.Limits{Count: 1}, nil).New(at(0))
	cursor := log.Tail()
	log.Append(message(1, 1<<10, time.Now()))
	entry, next, _ := cursor.Next()
	gone := weak.Make(entry)
	cursor, entry = next, nil
	log.Append(message(2, 1<<10, time.Now()))
	runtime.GC()
	if gone.Value() != nil {
		t.Error("an entry that was read and dropped is still held")
	}
	if e, _, ok := cursor.Next(); !ok || e.Message().Position.Offset != 2 {
		t.Error("the cursor does not continue after the freed entry")
	}
	runtime.KeepAlive(log)
}

// Newest finds the newest message without a walk, even when the log has dropped all
// messages. If each call walked the log, this test would not end.
func TestNewestDoesNotWalk(t *testing.T) {
	const messages, calls = 300_000, 1_000_000
	now := time.Now()
	log := topic.NewLogs(topic.Limits{Age: time.Second}, nil).New(at(0))
	c := log.Tail()
	for o := range uint64(messages) {
		log.Append(message(o+1, 0, now))
	}
	for round, drop := range []func(){
		func() {},
		func() {
			for log.Expire(now.Add(time.Second)) {
			}
			runtime.GC()
		},
	} {
		drop()
		for range calls {
			if e, _, ok := log.Newest(c).Next(); !ok || e.Message().Position.Offset != messages {
				t.Fatalf("round %d: the newest message is not the last one", round)
			}
		}
	}
	if log.Len() != 0 {
		t.Errorf("%d messages are left", log.Len())
	}
}

// Newest may be called without a lock while the log changes.
func TestNewestWhileTheLogChanges(t *testing.T) {
	for range 200 {
		log := topic.NewLogs(topic.Limits{}, nil).New(at(0))
		c := log.Tail()
		var reading sync.WaitGroup
		reading.Go(func() {
			for last := uint64(0); last < 40; {
				next, _, ok := log.Newest(c).Next()
				if !ok {
					continue
				}
				got := next.Message().Position.Offset
				if got < last {
					t.Errorf("the newest message is %d, after %d", got, last)
					return
				}
				last, c = got, log.Newest(c)
			}
		})
		for o := range uint64(40) {
			log.Append(message(o+1, 0, time.Time{}))
			if o%3 == 0 {
				for log.Shed() {
				}
			}
		}
		reading.Wait()
	}
}

func BenchmarkLogAppend(b *testing.B) {
	log := topic.NewLogs(topic.Limits{Count: 100}, nil).New(at(0))
	data, now := make([]byte, 100), time.Now()
	b.ReportAllocs()
	var offset uint64
	for b.Loop() {
		offset++
		log.Append(pubsub.Message{Position: at(offset), Time: now, Body: pubsub.Body{Data: data}})
	}
}
