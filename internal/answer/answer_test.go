package answer_test

import (
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"weak"

	"pgregory.net/rapid"

	"github.com/ikornaselur/notiflux/internal/answer"
	"github.com/ikornaselur/notiflux/internal/broker/memory"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

func newTopics(c topic.Config) *topic.Topics {
	_, topics := memory.New(memory.Config{Epoch: "E"}, c)
	return topics
}

// In pieces of any size, an answer has the same bytes and the announced length: the
// messages of its topics, in order, up to its limits.
func TestAnAnswerInPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		topics, offset := newTopics(topic.Config{}), uint64(0)
		names := []pubsub.Topic{"a", `"b"`, "empty"}
		var published [3][]string
		for range rapid.IntRange(0, 12).Draw(t, "messages") {
			i := rapid.IntRange(0, 1).Draw(t, "topic")
			text := strings.Repeat(rapid.SampledFrom([]string{"x", "\x01", "é😀", "\u2028", ""}).Draw(t, "text"), rapid.IntRange(0, 60_000).Draw(t, "length"))
			published[i] = append(published[i], text)
			topics.Order([]pubsub.Publication{{Topic: names[i], Body: pubsub.Body{Data: []byte(text)}}}, func() uint64 { offset++; return offset })
		}
		want := slices.Concat(published[:]...)
		limit := rapid.IntRange(0, 15).Draw(t, "limit")
		messages, taken := answer.UpTo(limit), 0
		for _, name := range names {
			if place := topics.History(name, pubsub.Position{Epoch: "E"}, 1000); place.Topic != nil {
				_, n := messages.Take(t.Context(), place.Topic, place.Cursor, place.Count)
				taken += n
			}
		}
		a := messages.Answer([]byte(`{"messages":[`), []byte(`]}`))
		length := a.Len()
		var got []byte
		for a.Len() > 0 {
			room := rapid.OneOf(rapid.Just(answer.MinRoom), rapid.IntRange(answer.MinRoom, 100_000)).Draw(t, "room")
			piece := a.Append(nil, room)
			if len(piece) == 0 || len(piece) > room || a.Len() > 0 && len(piece) < room-answer.MinRoom {
				t.Fatalf("a piece of %d bytes in a room of %d, %d remain", len(piece), room, a.Len())
			}
			got = append(got, piece...)
		}
		var parsed struct{ Messages []struct{ Data string } }
		if err := json.Unmarshal(got, &parsed); err != nil || len(got) != length {
			t.Fatalf("%d bytes of %d: %v", len(got), length, err)
		}
		if len(parsed.Messages) != taken || taken < min(limit, len(want)) && length < answer.MaxBytes {
			t.Fatalf("%d messages in %d bytes, %d were taken of %d up to %d", len(parsed.Messages), length, taken, len(want), limit)
		}
		for i, m := range parsed.Messages {
			if m.Data != want[i] {
				t.Fatalf("message %d has %d bytes, want %d", i, len(m.Data), len(want[i]))
			}
		}
	})
}

// The lag of an answer is the data that the log has dropped and the answer still has to
// send.
func TestTheLagOfAnAnswer(t *testing.T) {
	topics, offset := newTopics(topic.Config{PerTopic: topic.Limits{Count: 10}}), uint64(0)
	publish := func() {
		for range 10 {
			topics.Order([]pubsub.Publication{{Topic: "a", Body: pubsub.Body{Data: make([]byte, 10_000)}}}, func() uint64 { offset++; return offset })
		}
	}
	publish()
	messages := answer.UpTo(1000)
	end := messages.History(t.Context(), topics.History("a", pubsub.Position{}, 1000))
	a := messages.Answer(nil, wire.AppendHistoryEnd(nil, end))
	if a.Lag() != 0 {
		t.Errorf("a lag of %d while the log has everything", a.Lag())
	}
	publish()
	if want := uint64(10 * (10_000 + topic.Overhead)); a.Lag() != want {
		t.Errorf("a lag of %d when the log has nothing of it, want %d", a.Lag(), want)
	}
	for a.Len() > 0 {
		a.Append(nil, 64<<10)
	}
	if a.Lag() != 0 {
		t.Errorf("a lag of %d at the end", a.Lag())
	}
}

// The minimum room is enough for every piece of messages or members.
func TestAnswerInMinimumRoom(t *testing.T) {
	topics := newTopics(topic.Config{})
	topics.Order([]pubsub.Publication{{Topic: "a", Body: pubsub.Body{Data: []byte("x")}}, {Topic: "a", Body: pubsub.Body{Data: make([]byte, 10_000)}}}, func() uint64 { return 1 })
	messages := answer.UpTo(10)
	messages.History(t.Context(), topics.History("a", pubsub.Position{}, 10))
	members := []pubsub.Member{{Sub: "a"}, {Sub: strings.Repeat("\x01", 255), Info: []byte(`"` + strings.Repeat("\u0085", 511) + `"`)}}
	for name, a := range map[string]*answer.Answer{
		"messages": messages.Answer(nil, []byte("]")),
		"members":  answer.ForMembers(nil, members, []byte("]")),
	} {
		for a.Len() > 0 {
			if piece := a.Append(nil, answer.MinRoom); len(piece) == 0 || len(piece) > answer.MinRoom {
				t.Fatalf("%s: a piece of %d bytes in a room of %d, %d remain", name, len(piece), answer.MinRoom, a.Len())
			}
		}
	}
}

// Members take the place of messages.
func TestAnAnswerOfMembers(t *testing.T) {
	var members []pubsub.Member
	for i := range 1000 {
		members = append(members, pubsub.Member{Sub: fmt.Sprint(i), Info: []byte(`{"a":"` + strings.Repeat("i", i) + `"}`)})
	}
	a := answer.ForMembers([]byte(`{"members":[`), members, []byte(`]}`))
	length := a.Len()
	var got []byte
	for a.Len() > 0 {
		got = a.Append(got, 16<<10)
	}
	var parsed struct{ Members []struct{ Sub string } }
	if err := json.Unmarshal(got, &parsed); err != nil || len(got) != length || len(parsed.Members) != 1000 || parsed.Members[999].Sub != "999" {
		t.Errorf("%d members in %d bytes of %d: %v", len(parsed.Members), len(got), length, err)
	}
}

// A page of messages that no log holds is limited by their memory, except for its first
// message, and keeps only its own messages in memory.
func TestMessagesOfNoLogAreOwned(t *testing.T) {
	const size = 10_000
	for most, want := range map[int]int{0: 1, 50_000: 4, 1 << 20: 10} {
		var ms []pubsub.Message
		for i := range 10 {
			m := pubsub.Message{Topic: "a", Position: pubsub.Position{Epoch: "E", Offset: uint64(i + 1)}}
			m.Body.Data = []byte(strings.Repeat(fmt.Sprint(i), size))
			ms = append(ms, m)
		}
		last := weak.Make(&ms[9].Body.Data[0])
		messages := answer.UpTo(100).Owning(most)
		end := messages.History(t.Context(), topic.HistoryOf(pubsub.Position{Epoch: "E"}, ms))
		a := messages.Answer([]byte(`{"messages":[`), []byte(`]}`))
		if owned := a.Owned(); owned < want*size || owned > want*(size+topic.Overhead)+100 {
			t.Errorf("%d messages own %d bytes", want, owned)
		}
		if end.Position.Offset != uint64(want) || end.More != (want < 10) || !end.Recovered {
			t.Errorf("a page of %d bytes ends with %+v", most, end)
		}
		ms = nil
		runtime.GC()
		if kept := last.Value() != nil; kept != (want == 10) {
			t.Errorf("a page of %d messages keeps the tenth: %v", want, kept)
		}
		var parsed struct{ Messages []struct{ Data string } }
		if err := json.Unmarshal(a.Append(nil, 1<<20), &parsed); err != nil || len(parsed.Messages) != want || parsed.Messages[want-1].Data[0] != byte('0'+want-1) {
			t.Errorf("a page of %d bytes has %d messages, %v", most, len(parsed.Messages), err)
		}
	}
}
