package topic_test

import (
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// stored returns the messages of a topic after from, up to to, as a broker reads them from
// its store.
func stored(from, to uint64) (ms []pubsub.Message) {
	for offset := from + 1; offset <= to; offset++ {
		ms = append(ms, message(offset, 1, time.Now()))
	}
	return ms
}

// openAt makes the topic t live with an empty log after position, as a remote broker does.
func openAt(t *testing.T, topics *topic.Topics, position pubsub.Position) {
	t.Helper()
	if _, err := topics.Open("t", position, topic.ResumePoint{}); err != nil {
		t.Fatal(err)
	}
}

// pinSince pins a position in the topic t.
func pinSince(t *testing.T, topics *topic.Topics, since pubsub.Position) topic.Pin {
	t.Helper()
	pin, ok := topics.Pin("t", topic.ResumePoint{Since: since})
	if !ok {
		t.Fatal("the topic is not live")
	}
	return pin
}

// A reader before a gap jumps to the newest message, although walking would not lead there:
// the log has dropped everything, and holds only what was prepended for another reader.
func TestLastMarkerBeforePrependedMessages(t *testing.T) {
	now := time.Now()
	topics := topic.New(topic.Config{PerTopic: topic.Limits{Age: time.Minute}, Now: func() time.Time { return now }})
	openAt(t, topics, at(0))
	pin := pinSince(t, topics, at(0))
	joined, resumed := pin.Join(new(listener))
	topics.Append(stored(0, 1))
	topics.Gap("t", at(10))
	topics.Append(stored(10, 12))
	now = now.Add(2 * time.Minute)
	topics.Sweep()
	other := pinSince(t, topics, at(10))
	read := stored(10, 12)
	for i := range read {
		read[i].Time = now
	}
	topics.Prepend(&other, at(10), read)
	newest := joined.Newest(resumed.Cursor)
	if e, _, ok := newest.Next(); !ok || e.Message().Position != at(12) {
		t.Fatalf("the newest message is at %v, want %v", newest.Position(), at(12))
	}
	if to, ok := resumed.Cursor.LastMarker(newest); !ok || to != at(10) {
		t.Errorf("the last marker leads to %v, %v; want %v", to, ok, at(10))
	}
}

// A subscriber that resumes with epochs does not recover if the topic's epoch changes
// between the pin and the join.
func TestANewEpochSinceThePin(t *testing.T) {
	next := pubsub.Position{Epoch: "F"}
	for _, test := range []struct {
		epochs    []string
		last      int
		recovered bool
		position  pubsub.Position
		replay    int
	}{
		{[]string{"E"}, 0, false, pubsub.Position{Epoch: "F", Offset: 1}, 0},
		{[]string{"E", "F"}, 0, true, pubsub.Position{Epoch: "F", Offset: 1}, 0},
		{[]string{"F"}, 0, false, pubsub.Position{Epoch: "F", Offset: 1}, 0},
		{nil, 0, true, pubsub.Position{Epoch: "F", Offset: 1}, 0},
		{[]string{"E"}, 1, true, at(1), 1}, // It meets the marker.
		{[]string{"E"}, 2, true, at(0), 2},
	} {
		topics := topic.New(topic.Config{})
		openAt(t, topics, at(0))
		pin, _ := topics.Pin("t", topic.ResumePoint{Epochs: test.epochs, Last: test.last})
		topics.Append(stored(0, 1))
		topics.Gap("t", next)
		first := message(1, 1, time.Now())
		first.Position.Epoch = next.Epoch
		topics.Append([]pubsub.Message{first})
		_, r := pin.Take()
		if r.Recovered != test.recovered || r.Position != test.position || r.Replay != test.replay {
			t.Errorf("%+v: resumed with %+v", test, r)
		}
	}
}

// The limit on all logs holds even if the clock of the broker is ahead.
func TestTotalBytesIfTheClockOfTheBrokerIsAhead(t *testing.T) {
	const limit = 10_000
	topics := topic.New(topic.Config{TotalBytes: limit})
	openAt(t, topics, at(0))
	for offset := range uint64(100) {
		topics.Append([]pubsub.Message{message(offset+1, 1000, time.Now().Add(time.Second))})
		if got := topics.Stats().Bytes; got > limit {
			t.Fatalf("the logs take %d bytes after message %d, the limit is %d", got, offset+1, limit)
		}
	}
}
