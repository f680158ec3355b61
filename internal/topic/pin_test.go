package topic_test

import (
	"testing"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// A pin tells its broker whether the store may have messages for it.
func TestPinsWantMessagesThatCanCoverThem(t *testing.T) {
	topics := topic.New(topic.Config{PerTopic: topic.Limits{Count: 3}})
	openAt(t, topics, at(0))
	topics.Append(stored(0, 5)) // The log holds 3 to 5.
	for _, test := range []struct {
		point          topic.ResumePoint
		covered, wants bool
	}{
		{topic.ResumePoint{}, true, false},
		{topic.ResumePoint{Since: at(2)}, true, false},
		{topic.ResumePoint{Since: at(1)}, false, true},
		{topic.ResumePoint{Since: at(6)}, false, false},
		{topic.ResumePoint{Since: pubsub.Position{Epoch: "F", Offset: 1}}, false, false},
		{topic.ResumePoint{Last: 3}, true, false},
		{topic.ResumePoint{Last: 4}, false, true},
		{topic.ResumePoint{Epochs: []string{"F"}}, false, false},
		{topic.ResumePoint{Epochs: []string{"F"}, Last: 4}, false, false},
		{topic.ResumePoint{Epochs: []string{"F", "E"}, Last: 4}, false, true},
		{topic.ResumePoint{Epochs: []string{"E"}}, true, false},
	} {
		pin, _ := topics.Pin("t", test.point)
		if covered, wants := pin.Covered(), pin.Wants(); covered != test.covered || wants != test.wants {
			t.Errorf("%+v: covered %v, wants messages %v; want %v, %v", test.point, covered, wants, test.covered, test.wants)
		}
		if test.wants {
			from := uint64(1)
			topics.Prepend(&pin, at(from), stored(from, 2))
			if covered, wants := pin.Covered(), pin.Wants(); !covered || wants {
				t.Errorf("%+v, after Prepend: covered %v, wants messages %v", test.point, covered, wants)
			}
		}
		pin.Abandon()
		if pin.Covered() || pin.Wants() {
			t.Errorf("%+v: after Abandon: covered %v, wants messages %v", test.point, pin.Covered(), pin.Wants())
		}
		pin.Release()
	}
}
