package topic_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// HistoryOf returns the same history as a log.
func TestHistoryOfAStore(t *testing.T) {
	for n := range 4 {
		var ms []pubsub.Message
		for i := range n {
			ms = append(ms, message(uint64(10+i), 1, time.Now()))
		}
		y := topic.HistoryOf(at(7), ms)
		end := uint64(7)
		if n > 0 {
			end = uint64(9 + n)
		}
		if y.Count != n || y.Position != at(end) || !y.Recovered || y.More || y.Cursor.Position() != at(7) {
			t.Errorf("of %d messages: %+v from %v", n, y, y.Cursor.Position())
		}
		var got []uint64
		for _, m := range y.Messages() {
			got = append(got, m.Position.Offset)
		}
		if want := []uint64{10, 11, 12}[:n]; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%v, want %v", got, want)
		}
	}
}

// Histories begin after the last marker, and nothing before it is covered.
func TestAHistoryHasNoGap(t *testing.T) {
	topics := topic.New(topic.Config{})
	pin, err := topics.Open("t", at(0), topic.ResumePoint{})
	if err != nil {
		t.Fatal(err)
	}
	defer pin.Release()
	topics.Append([]pubsub.Message{message(1, 1, time.Now()), message(2, 1, time.Now())})
	topics.Gap("t", at(5))
	topics.Append([]pubsub.Message{message(6, 1, time.Now()), message(7, 1, time.Now())})
	for _, test := range []struct {
		since     pubsub.Position
		limit     int
		want      string
		recovered bool
	}{
		{pubsub.Position{}, 9, "[6 7]", true},
		{pubsub.Position{}, 1, "[7]", true},
		{at(5), 9, "[6 7]", true},
		{at(6), 9, "[7]", true},
		{at(2), 9, "[6 7]", false},
		{at(1), 1, "[6]", false},
		{at(8), 9, "[6 7]", false},
	} {
		y := topics.History("t", test.since, test.limit)
		var got []uint64
		for _, m := range y.Messages() {
			got = append(got, m.Position.Offset)
		}
		if fmt.Sprint(got) != test.want || y.Recovered != test.recovered {
			t.Errorf("since %v: %v, recovered %v; want %+v", test.since, got, y.Recovered, test)
		}
	}
	if y := topics.History("other", pubsub.Position{}, 9); y.Recovered || y.Count != 0 {
		t.Errorf("of a topic that is not live: %+v", y)
	}
}
