package delivery_test

import (
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/internaltest/delivery"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// heldByPatterns is what the log of a pattern of these tests holds.
const heldByPatterns = 3

// tellOfPatterns writes a log by hand of a client with the topic a and the pattern *.
func tellOfPatterns(tale func(s *story)) []error {
	r := new(delivery.Recorder)
	s := &story{r, r.Client("client")}
	tale(s)
	log := r.Log(held)
	log.HeldByPatterns = heldByPatterns
	return delivery.Check(log)
}

const everything = "\x01*" // the topic of the pattern *

func (s *story) pattern(since, position pubsub.Position, recovered bool) {
	s.client.Add(delivery.Event{Kind: delivery.Subscribed, Topic: everything, Ask: s.client.Ask(since, 0), Position: position, Recovered: recovered})
}

func (s *story) patternEvent(k delivery.Kind, to uint64) {
	s.client.Add(delivery.Event{Kind: k, Topic: everything, Position: at(to)})
}

func TestSoundOverlaps(t *testing.T) {
	if p, ok := pubsub.Topic(everything).Pattern(); !ok || p != "*" {
		t.Fatalf("the topic is that of %q", p)
	}
	for name, tale := range map[string]func(s *story){
		"both": func(s *story) {
			s.pattern(pubsub.Position{}, at(0), true)
			s.first(0)
			s.publish(1, 2)
			s.gets(1, 2)
			s.patternEvent(delivery.Position, 2)
			s.rests()
		},
		"resumed in any order": func(s *story) {
			s.pattern(pubsub.Position{}, at(0), true)
			s.first(0)
			s.publish(1, 2, 3)
			s.gets(1, 2)
			s.cut()
			s.resumed(2, 1)
			s.gets(3)
			s.pattern(at(0), at(0), true)
			s.patternEvent(delivery.Position, 3)
			s.cut()
			s.pattern(at(0), at(0), true)
			s.gets(1, 2, 3)
			s.resumed(3, 0)
			s.rests()
		},
		"not recovered": func(s *story) {
			s.pattern(pubsub.Position{}, at(0), true)
			s.publish(1, 2, 3, 4)
			s.cut()
			s.pattern(at(0), at(4), false)
			s.publish(5)
			s.gets(5)
			s.rests()
		},
		"the topic ends": func(s *story) {
			s.first(0)
			s.pattern(pubsub.Position{}, at(0), true)
			s.publish(1)
			s.gets(1)
			s.event(delivery.Unsubscribed, 0, 0)
			s.publish(2)
			s.gets(2)
			s.rests()
		},
	} {
		for _, err := range tellOfPatterns(tale) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPlantedFaultsOfOverlaps(t *testing.T) {
	for name, test := range map[string]struct {
		want string
		tale func(s *story)
	}{
		"missing": {"1 messages of \"a\" are missing after 1", func(s *story) { s.publish(1, 2, 3); s.gets(1, 3) }},
		"missing at the end": {"1 messages of \"a\" are missing after 1", func(s *story) {
			s.publish(1, 2)
			s.gets(1)
			s.rests()
		}},
		"twice": {"twice", func(s *story) { s.publish(1); s.gets(1, 1) }},
		"order": {"out of order", func(s *story) { s.publish(1, 2); s.gets(1, 2, 1) }},
		"a watermark too early": {"1 messages of \"a\" are missing after 1", func(s *story) {
			s.publish(1, 2)
			s.gets(1)
			s.patternEvent(delivery.Position, 2)
		}},
		"a position too late for the topic": {"1 messages of \"a\" are missing after 1", func(s *story) {
			s.publish(1, 2)
			s.gets(1)
			s.first(2)
			s.cut()
			s.resumed(2, 0)
			s.publish(3)
			s.gets(3)
		}},
		"recovered, with a hole": {"1 messages of \"a\" are missing after 1", func(s *story) {
			s.publish(1, 2, 3)
			s.gets(1)
			s.cut()
			s.pattern(at(0), at(0), true)
			s.gets(3)
		}},
		"not recovered within bounds": {"not recovered from E:0", func(s *story) {
			s.publish(1, 2)
			s.cut()
			s.pattern(at(0), at(2), false)
		}},
		"recovered from elsewhere": {"recovered from elsewhere", func(s *story) {
			s.publish(1, 2)
			s.cut()
			s.pattern(at(0), at(1), true)
		}},
		"after the end": {"no subscription matches it", func(s *story) {
			s.patternEvent(delivery.Unsubscribed, 0)
			s.publish(1)
			s.gets(1)
		}},
		"beyond the newest": {"beyond the newest message", func(s *story) { s.first(7) }},
		"a watermark of another": {"without a subscription", func(s *story) {
			s.client.Add(delivery.Event{Kind: delivery.Position, Topic: everything + "*", Position: at(0)})
		}},
	} {
		got := tellOfPatterns(func(s *story) {
			s.pattern(pubsub.Position{}, at(0), true)
			test.tale(s)
		})
		if len(got) == 0 || !strings.Contains(got[0].Error(), test.want) {
			t.Errorf("%s: the faults are %v, want %q", name, got, test.want)
		}
	}
}
