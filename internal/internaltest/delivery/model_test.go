package delivery_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/ikornaselur/notiflux/internal/internaltest/delivery"
)

// history draws what a faultless server does to one client: messages, cuts,
// resumes inside and outside of what it holds.
func history(t *rapid.T) delivery.Log {
	r := new(delivery.Recorder)
	s := &story{r, r.Client("client")}
	var (
		messages  []uint64 // offsets
		given     int      // messages that the client has, or that it was told it has not
		connected bool
	)
	s.publish(1)
	messages = append(messages, 1)
	s.first(1)
	given, connected = 1, true
	t.Repeat(map[string]func(*rapid.T){
		"publish": func(t *rapid.T) {
			next := messages[len(messages)-1] + rapid.Uint64Range(1, 3).Draw(t, "step")
			s.publish(next)
			messages = append(messages, next)
		},
		"deliver": func(t *rapid.T) {
			if connected && given < len(messages) {
				s.gets(messages[given])
				given++
			}
		},
		"cut": func(*rapid.T) {
			if connected {
				s.cut()
				connected = false
			}
		},
		"resume": func(*rapid.T) {
			switch since := at(messages[given-1]); {
			case connected:
			case len(messages)-given > held:
				s.lost(since, messages[len(messages)-1])
				given, connected = len(messages), true
			default:
				s.resumed(since.Offset, len(messages)-given)
				connected = true
			}
		},
	})
	if !connected {
		s.cut()
		s.answer(at(messages[given-1]), at(messages[given-1]), true, len(messages)-given)
	}
	s.gets(messages[given:]...)
	s.rests()
	return r.Log(held)
}

func TestEveryChangeOfASoundLogIsSeen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log := history(t)
		if faults := delivery.Check(log); len(faults) > 0 {
			t.Fatalf("without a fault: %v", faults)
		}
		events := log.Clients[0].Events
		var received []int
		for i, e := range events {
			if e.Kind == delivery.Message {
				received = append(received, i)
			}
		}
		if len(received) == 0 {
			return
		}
		i := rapid.SampledFrom(received).Draw(t, "event")
		change := rapid.SampledFrom([]string{"lost", "twice", "later", "payload"}).Draw(t, "change")
		switch change {
		case "lost":
			events = slices.Delete(events, i, i+1)
		case "twice":
			events = slices.Insert(events, i, events[i])
		case "later":
			events[i], events[i+1] = events[i+1], events[i] // A rest is the last event.
		case "payload":
			events[i].Data += "x"
		}
		log.Clients[0].Events = events
		if faults := delivery.Check(log); len(faults) == 0 {
			t.Fatalf("%s at event %d is not seen", change, i)
		}
	})
}
