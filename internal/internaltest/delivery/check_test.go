package delivery_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/internaltest/delivery"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// held is what the history of these tests holds.
const held = 3

// story writes a log by hand: one publisher, one client, one topic, one thing
// after the other.
type story struct {
	*delivery.Recorder
	client *delivery.Recording
}

func tell(tale func(s *story)) []error {
	r := new(delivery.Recorder)
	s := &story{r, r.Client("client")}
	tale(s)
	return delivery.Check(r.Log(held))
}

// A log that may be behind the publishers may begin a subscription before the head, but
// misses nothing from there.
func TestBehind(t *testing.T) {
	for missing, want := range []int{0, 1} {
		r := new(delivery.Recorder)
		s := &story{r, r.Client("client")}
		s.publish(1, 2, 3)
		s.resumed(1, 0)
		if missing == 0 {
			s.gets(2)
		}
		s.gets(3)
		log := r.Log(held)
		if log.Behind = true; len(delivery.Check(log)) != want {
			t.Errorf("%d messages are missing: %v", missing, delivery.Check(log))
		}
	}
}

// A message that is carried into a later epoch is at its offset there, and nowhere else.
func TestCarried(t *testing.T) {
	for what, test := range map[string]struct {
		carried  bool
		position pubsub.Position
		sound    bool
	}{
		"carried":        {true, pubsub.Position{Epoch: "F", Offset: 2}, true},
		"not carried":    {false, pubsub.Position{Epoch: "F", Offset: 2}, false},
		"another offset": {true, pubsub.Position{Epoch: "F", Offset: 3}, false},
	} {
		r := new(delivery.Recorder)
		s := &story{r, r.Client("client")}
		s.publish(1, 2)
		r.Publishing("a", "in F")(delivery.Acknowledged, pubsub.Position{Epoch: "F", Offset: 9})
		before := test.position
		before.Offset--
		s.client.Add(delivery.Event{Kind: delivery.Subscribed, Topic: "a", Ask: s.client.Ask(pubsub.Position{}, 2), Position: before, Recovered: true, Replay: 2})
		s.client.Add(delivery.Event{Kind: delivery.Message, Topic: "a", Position: test.position, Data: name(2)})
		log := r.Log(-1)
		if log.Behind, log.Carried = true, test.carried; (len(delivery.Check(log)) == 0) != test.sound {
			t.Errorf("%s: %v", what, delivery.Check(log))
		}
	}
}

func at(offset uint64) pubsub.Position { return pubsub.Position{Epoch: "E", Offset: offset} }

// name is the payload of the message at an offset.
func name(offset uint64) string { return fmt.Sprint("m", offset) }

// publish has messages acknowledged at these offsets.
func (s *story) publish(offsets ...uint64) {
	for _, o := range offsets {
		s.Publishing("a", name(o))(delivery.Acknowledged, at(o))
	}
}

// first is the answer to a subscription that asks for nothing of the past.
func (s *story) first(head uint64) {
	s.answer(pubsub.Position{}, at(head), true, 0)
}

// resumed is an answer that recovers.
func (s *story) resumed(since uint64, replay int) { s.answer(at(since), at(since), true, replay) }

// lost is an answer that does not.
func (s *story) lost(since pubsub.Position, position uint64) {
	s.answer(since, at(position), false, 0)
}

func (s *story) answer(since, position pubsub.Position, recovered bool, replay int) {
	s.answerTo(s.client.Ask(since, 0), position, recovered, replay)
}

func (s *story) answerTo(ask delivery.Ask, position pubsub.Position, recovered bool, replay int) {
	s.client.Add(delivery.Event{Kind: delivery.Subscribed, Topic: "a", Ask: ask, Position: position, Recovered: recovered, Replay: replay})
}

// gets is the messages at these offsets, as they were published.
func (s *story) gets(offsets ...uint64) {
	for _, o := range offsets {
		s.message(at(o), name(o))
	}
}

func (s *story) message(p pubsub.Position, data string) {
	s.client.Add(delivery.Event{Kind: delivery.Message, Topic: "a", Position: p, Data: data})
}

func (s *story) event(k delivery.Kind, from, to uint64) {
	s.client.Add(delivery.Event{Kind: k, Topic: "a", From: at(from), Position: at(to)})
}

func (s *story) cut()   { s.client.Add(delivery.Event{Kind: delivery.Cut}) }
func (s *story) rests() { s.client.Add(delivery.Event{Kind: delivery.Rest}) }

// sound is what a server may do.
var sound = map[string]func(s *story){
	"nothing": func(s *story) { s.rests() },
	"live, with holes between offsets": func(s *story) {
		s.publish(1)
		s.first(1)
		s.publish(3, 8)
		s.gets(3, 8)
		s.rests()
	},
	"a topic without messages": func(s *story) {
		s.first(0)
		s.publish(4)
		s.gets(4)
		s.cut()
		s.resumed(4, 0)
		s.rests()
	},
	"resumed": func(s *story) {
		s.first(0)
		s.publish(1, 2, 3)
		s.gets(1)
		s.cut()
		s.publish(4)
		s.resumed(1, 3)
		s.gets(2, 3)
		s.cut()
		s.resumed(3, 1)
		s.gets(4)
		s.rests()
	},
	"the last ones": func(s *story) {
		s.publish(1, 2, 3)
		s.answerTo(s.client.Ask(pubsub.Position{}, 2), at(1), true, 2)
		s.gets(2, 3)
		s.rests()
	},
	"not recovered": func(s *story) {
		s.publish(1, 2, 3, 4, 5)
		s.lost(at(1), 5)
		s.publish(6)
		s.gets(6)
		s.rests()
	},
	"recovered from further back than must be": func(s *story) {
		s.publish(1, 2, 3, 4, 5)
		s.resumed(1, 4)
		s.gets(2, 3, 4, 5)
		s.rests()
	},
	"a position of the future": func(s *story) {
		s.publish(1)
		s.lost(at(9), 1)
		s.rests()
	},
	"another epoch": func(s *story) {
		s.publish(1)
		s.lost(pubsub.Position{Epoch: "D", Offset: 1}, 1)
		s.rests()
	},
	"a head that moves while the client is answered": func(s *story) {
		s.publish(1)
		ask := s.client.Ask(at(1), 0)
		s.publish(2)
		answered := s.Publishing("a", name(3))
		s.answerTo(ask, at(1), true, 2)
		answered(delivery.Acknowledged, at(3))
		s.gets(2, 3)
		s.cut()
		ask = s.client.Ask(at(3), 0)
		s.publish(4)
		s.answerTo(ask, at(3), true, 0)
		s.gets(4)
		s.rests()
	},
	"messages whose answer is lost": func(s *story) {
		s.first(0)
		s.Publishing("a", name(1))
		s.Publishing("a", "never came")
		s.publish(2)
		s.gets(1, 2)
		s.rests()
	},
	"not recovered, and the position is not told": func(s *story) {
		s.publish(1, 2, 3, 4, 5)
		ask := s.client.Ask(at(1), 0)
		s.publish(6)
		s.answerTo(ask, pubsub.Position{}, false, 0)
		s.gets(6)
		s.cut()
		s.answer(at(6), pubsub.Position{}, false, 0)
		s.publish(7)
		s.gets(7)
		s.rests()
	},
	"skipped, and a gap": func(s *story) {
		s.first(0)
		s.publish(1, 2, 3, 4, 5)
		s.event(delivery.Skipped, 0, 3)
		s.gets(4)
		s.event(delivery.Gap, 0, 5)
		s.rests()
	},
	"unsubscribed": func(s *story) {
		s.first(0)
		s.publish(1)
		s.gets(1)
		s.event(delivery.Unsubscribed, 0, 0)
		s.event(delivery.Unsubscribed, 0, 0)
		s.publish(2)
		s.resumed(1, 1)
		s.resumed(1, 0)
		s.gets(2)
		s.rests()
	},
}

func TestSoundLogs(t *testing.T) {
	for name, tale := range sound {
		t.Run(name, func(t *testing.T) {
			for _, err := range tell(tale) {
				t.Error(err)
			}
		})
	}
}

// Each of these bugs of a server is seen, and told once.
func TestPlantedFaults(t *testing.T) {
	other := pubsub.Position{Epoch: "D", Offset: 1}
	for name, test := range map[string]struct {
		want string
		tale func(s *story)
	}{
		"a message is missing":             {"so 1 messages are missing", func(s *story) { s.first(0); s.publish(1, 2, 3); s.gets(1, 3) }},
		"the first message is missing":     {"so 2 messages are missing", func(s *story) { s.first(0); s.publish(1, 2, 3); s.gets(3) }},
		"the last message is missing":      {"1 messages of \"a\" are missing at its end", func(s *story) { s.first(0); s.publish(1, 2); s.gets(1); s.rests() }},
		"a message comes twice":            {"twice", func(s *story) { s.first(0); s.publish(1, 2); s.gets(1, 1, 2); s.rests() }},
		"replayed and live":                {"out of order, or twice", func(s *story) { s.publish(1, 2, 3); s.resumed(1, 2); s.gets(2, 3, 2) }},
		"a message from before the answer": {"out of order, or twice", func(s *story) { s.publish(1, 2); s.first(2); s.gets(1) }},
		"a position for another":           {"nobody published", func(s *story) { s.first(0); s.publish(1); s.message(at(1), "else") }},
		"the payload of another": {`acknowledged at E:2`, func(s *story) {
			s.first(0)
			s.publish(1, 2)
			s.message(at(1), "m2")
			s.gets(2)
		}},
		"a payload of the future": {"was published later", func(s *story) { s.first(0); s.gets(1); s.publish(1) }},
		"two payloads at a position": {`"m1" has that position`, func(s *story) {
			s.first(0)
			s.publish(1)
			s.Publishing("a", "late")
			s.gets(1)
			s.cut()
			s.answerTo(delivery.Ask{Time: 1}, at(0), true, 0)
			s.message(at(1), "late")
		}},
		"a message before the answer": {"before an answer", func(s *story) { s.publish(1); s.gets(1); s.first(1) }},
		"the subscription outlives its connection": {"before an answer", func(s *story) {
			s.first(0)
			s.cut()
			s.publish(1)
			s.gets(1)
		}},
		"a message after the answer to the end": {"after the answer to the end", func(s *story) {
			s.first(0)
			s.event(delivery.Unsubscribed, 0, 0)
			s.publish(1)
			s.gets(1)
		}},
		"a replay of one too few":   {"the head was at least 3", func(s *story) { s.publish(1, 2, 3); s.resumed(1, 1); s.gets(2, 3) }},
		"a replay of one too many":  {"there were at most 2", func(s *story) { s.publish(1, 2, 3); s.resumed(1, 3); s.gets(2, 3) }},
		"more than was asked for":   {"1 were asked for", func(s *story) { s.publish(1, 2); s.answerTo(s.client.Ask(pubsub.Position{}, 1), at(0), true, 2) }},
		"recovered, with a hole":    {"so 1 messages are missing", func(s *story) { s.publish(1, 2, 3); s.resumed(1, 2); s.gets(3) }},
		"off by one in since":       {"recovered from elsewhere", func(s *story) { s.publish(1, 2, 3); s.answer(at(1), at(2), true, 1); s.gets(3) }},
		"since is given again":      {"out of order, or twice", func(s *story) { s.publish(1, 2, 3); s.resumed(2, 1); s.gets(1) }},
		"the epoch is not compared": {"another epoch without a word", func(s *story) { s.publish(1, 2); s.answer(other, other, true, 0); s.gets(2) }},
		"the epoch changes silently": {"another epoch without a word", func(s *story) {
			s.first(0)
			s.Publishing("a", "x")(delivery.Acknowledged, other)
			s.message(other, "x")
		}},
		"an epoch is slept through":     {"went on in the epoch D", func(s *story) { s.first(0); s.Publishing("a", "x")(delivery.Acknowledged, other); s.rests() }},
		"a position of the future":      {"beyond the head", func(s *story) { s.publish(1); s.resumed(5, 0); s.publish(2) }},
		"not recovered, behind":         {"the position is not the head", func(s *story) { s.publish(1, 2, 3, 4, 5, 6); s.answer(at(1), at(5), false, 0) }},
		"not recovered, ahead":          {"the position is not the head", func(s *story) { s.publish(1, 2, 3, 4, 5, 6); s.lost(at(1), 7) }},
		"not recovered, since returned": {"the position is not the head", func(s *story) { s.publish(1, 2, 3, 4, 5, 6); s.lost(at(1), 1) }},
		"not recovered, inside bounds":  {"though at most 3 messages are after it", func(s *story) { s.publish(1, 2, 3, 4); s.lost(at(1), 4) }},
		"nothing new, not recovered":    {"though at most 0 messages are after it", func(s *story) { s.publish(1, 2, 3, 4); s.lost(at(4), 4) }},
		"not recovered, for nothing":    {"nothing was asked for", func(s *story) { s.publish(1); s.lost(pubsub.Position{}, 1) }},
		"not recovered, with a replay":  {"1 messages are replayed", func(s *story) { s.publish(1, 2, 3, 4, 5, 6); s.answer(at(1), at(6), false, 1) }},
		"not recovered, and behind an untold place": {"which was neither asked for nor the head", func(s *story) {
			s.publish(1, 2, 3, 4, 5, 6)
			s.answer(at(1), pubsub.Position{}, false, 0)
			s.gets(6)
		}},
		"an offset is given twice":     {"was given twice", func(s *story) { s.publish(1); s.Publishing("a", "x")(delivery.Acknowledged, at(1)) }},
		"an offset goes back":          {"though it was sent after the answer", func(s *story) { s.publish(2, 1) }},
		"acknowledged, and not logged": {"so 1 messages are missing", func(s *story) { s.first(0); s.publish(1, 2, 3); s.gets(1, 3); s.rests() }},
		"refused, and logged": {"was refused", func(s *story) {
			s.first(0)
			s.Publishing("a", name(1))(delivery.Refused, pubsub.Position{})
			s.gets(1)
		}},
		"unanswered, and logged twice": {"is at E:1 too", func(s *story) { s.first(0); s.Publishing("a", "x"); s.message(at(1), "x"); s.message(at(2), "x") }},
		"another than the head for a new one": {"the head was at least 2", func(s *story) {
			s.publish(1, 2)
			s.first(1)
			s.gets(2)
		}},
		"a skip from elsewhere":      {"but E:1 was given", func(s *story) { s.publish(1); s.first(1); s.publish(2, 3); s.event(delivery.Skipped, 2, 3) }},
		"a skip backwards":           {"skipped backwards", func(s *story) { s.publish(1, 2); s.first(2); s.event(delivery.Skipped, 2, 1) }},
		"a gap backwards":            {"a gap backwards", func(s *story) { s.publish(1, 2); s.first(2); s.event(delivery.Gap, 0, 1) }},
		"a subscription begins anew": {"the subscription was there", func(s *story) { s.publish(1, 2); s.first(2); s.resumed(1, 1) }},
		"a payload published twice":  {"of no use", func(s *story) { s.publish(1); s.Publishing("a", name(1)) }},
	} {
		t.Run(name, func(t *testing.T) {
			got := tell(test.tale)
			if len(got) == 0 || !strings.Contains(got[0].Error(), test.want) {
				t.Fatalf("the faults are %v, want %q", got, test.want)
			}
			if len(got) > 1 {
				t.Errorf("it is told again: %v", got[1:])
			}
		})
	}
}
