package topic_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ikornaselur/notiflux/internal/topic"
)

// encodings is the number of encodings in the tests.
const encodings = 6

// encoding is an encoder for tests. Its frames differ by message and encoding.
type encoding uint8

func (n encoding) Encode(e *topic.Entry) []byte {
	m := e.Message()
	return fmt.Appendf(nil, "%d in encoding %d, %s", m.Position.Offset, n, m.Body.Data)
}

// counted is an encoding that counts its calls.
type counted struct {
	encoding
	calls *int
}

func (n counted) Encode(e *topic.Entry) []byte {
	*n.calls++
	return n.encoding.Encode(e)
}

func TestFrameIsEncodedOnce(t *testing.T) {
	log := topic.NewLogs(topic.Limits{}, nil).New(at(0))
	cursor := log.Tail()
	log.Append(message(1, 3, time.Now()))
	entry, _, _ := cursor.Next()
	calls := 0
	for range 3 {
		for e := range encoding(encodings) {
			if got, want := string(entry.Frame(uint8(e), counted{e, &calls})), string(e.Encode(entry)); got != want {
				t.Errorf("Frame in encoding %d = %q, want %q", e, got, want)
			}
		}
	}
	if want := encodings; calls != want {
		t.Errorf("encoded %d times, want %d", calls, want)
	}
}

// sameAs is an encoder whose frames are those of another encoding, in the same memory.
type sameAs uint8

func (n sameAs) Encode(e *topic.Entry) []byte { return e.Kept(uint8(n)) }

func TestAFrameOfTwoEncodingsCountsOnce(t *testing.T) {
	logs := topic.NewLogs(topic.Limits{}, nil)
	log := logs.New(at(0))
	cursor := log.Tail()
	log.Append(message(1, 3, time.Now()))
	entry, _, _ := cursor.Next()
	entry.Frame(0, encoding(0))
	one := logs.FrameBytes()
	entry.Frame(1, sameAs(0))
	if got, want := logs.FrameBytes(), one+topic.FrameOverhead; got != want {
		t.Errorf("two encodings with one frame count %d bytes, want %d", got, want)
	}
	log.DropOldest()
	if got := logs.FrameBytes(); got != 0 {
		t.Errorf("%d bytes are left of the frames, want 0", got)
	}
}

func TestAFrameThatIsThereAllocatesNothing(t *testing.T) {
	log := topic.NewLogs(topic.Limits{}, nil).New(at(0))
	cursor := log.Tail()
	log.Append(message(1, 3, time.Now()))
	entry, _, _ := cursor.Next()
	entry.Frame(0, encoding(0))
	entry.Frame(1, encoding(1))
	if got := testing.AllocsPerRun(100, func() { entry.Frame(0, encoding(0)) }); got > 0 {
		t.Errorf("%v allocations, want 0", got)
	}
}

// A dropped message keeps no frames. A slow reader gets a new frame.
func TestADroppedMessageKeepsNoFrames(t *testing.T) {
	logs := topic.NewLogs(topic.Limits{}, nil)
	log := logs.New(at(0))
	cursor := log.Tail()
	log.Append(message(1, 1000, time.Now()))
	entry, _, _ := cursor.Next()
	want := string(entry.Frame(0, encoding(0)))
	if got := logs.FrameBytes(); got < 1000 {
		t.Errorf("a frame of %d bytes counts for %d", len(want), got)
	}
	log.DropOldest()
	for range 2 {
		if got := string(entry.Frame(0, encoding(0))); got != want {
			t.Errorf("Frame of a dropped message = %q, want %q", got, want)
		}
		if got := logs.FrameBytes(); got != 0 {
			t.Errorf("frames of dropped messages count for %d bytes, want 0", got)
		}
	}
}

// Readers keep frames while the log drops messages. Each reader gets the right frame, and
// in the end exactly the kept frames are counted.
func TestFramesAreCountedUnderConcurrency(t *testing.T) {
	const readers = 4
	rapid.Check(t, func(t *rapid.T) {
		var least atomic.Int64 // lowest FrameBytes
		var logs *topic.Logs
		logs = topic.NewLogs(topic.Limits{Count: rapid.IntRange(1, 20).Draw(t, "count")}, func() {
			for now, seen := logs.FrameBytes(), least.Load(); now < seen && !least.CompareAndSwap(seen, now); seen = least.Load() {
			}
		})
		log := logs.New(at(0))
		first := log.Tail()
		messages := uint64(rapid.IntRange(1, 200).Draw(t, "messages"))
		var wg sync.WaitGroup
		var wrong atomic.Int64
		for r := range readers {
			wanted := rapid.SliceOfN(rapid.Uint8Range(0, encodings-1), 1, 3).Draw(t, "encodings")
			wg.Go(func() {
				for cursor, i := first, r; cursor.Position().Offset < messages; {
					entry, next, ok := cursor.Next()
					if !ok {
						continue
					}
					e := encoding(wanted[i%len(wanted)])
					if got := string(entry.Frame(uint8(e), e)); got != string(e.Encode(entry)) {
						wrong.Add(1)
					}
					cursor, i = next, i+1
				}
			})
		}
		for offset := range messages {
			log.Append(message(offset+1, 10, time.Time{}))
			if offset%16 == 0 {
				log.DropOldest()
			}
		}
		wg.Wait()
		if wrong.Load() > 0 || least.Load() < 0 {
			t.Fatalf("%d wrong frames; FrameBytes was once %d", wrong.Load(), least.Load())
		}
		// Which frames the last messages have is random, so add all of them.
		var want int64
		for cursor := log.First(); !cursor.AtTail(); {
			entry, next, _ := cursor.Next()
			for e := range encoding(encodings) {
				want += int64(cap(entry.Frame(uint8(e), e))) + topic.FrameOverhead
			}
			cursor = next
		}
		if got := logs.FrameBytes(); got != want {
			t.Fatalf("%d bytes are counted, the frames take %d", got, want)
		}
		for log.Len() > 0 {
			log.DropOldest()
		}
		if got := logs.FrameBytes(); got != 0 {
			t.Fatalf("%d bytes are counted of an empty log", got)
		}
	})
}
