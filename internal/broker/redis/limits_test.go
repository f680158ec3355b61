package redis_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker/redis"
	"github.com/ikornaselur/notiflux/internal/broker/remote"
	"github.com/ikornaselur/notiflux/internal/internaltest/redistest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// One call publishes to topics with different limits. Redis keeps of each what its own say.
func TestLimitsOfTopics(t *testing.T) {
	server := redistest.Start(t)
	limits := map[pubsub.Topic]*topic.Limits{"few": {Count: 2, Age: time.Minute}, "none": {Off: true}, "long": {Count: 1000, Age: time.Hour}}
	s := redis.NewScriptsForTest(redis.Config{
		Options: redis.Options{Addresses: []string{server.Addr}}, Prefix: "notiflux:", Messages: 3, Age: historyAge,
		Limits: func(name pubsub.Topic) *topic.Limits { return limits[name] },
	})
	defer s.Close()
	var ps []pubsub.Publication
	names := []pubsub.Topic{"few", "none", "long", "other"}
	for i := range 20 {
		ps = append(ps, pubsub.Publication{Topic: names[i%4], Body: pubsub.Body{Data: []byte("x")}})
	}
	if err := s.Publish(t.Context(), ps, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	heads, err := s.Heads(t.Context(), names)
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range names {
		want := []int{2, 0, 5, 3}[i]
		last := ps[16+i].Position
		p, err := s.Read(t.Context(), name, remote.Range{Until: remote.Last, Newest: remote.All})
		if err != nil || len(p.Messages) != want || heads[name] != last {
			t.Errorf("%s: %d messages, %v, the head is %v; want %d messages and %v", name, len(p.Messages), err, heads[name], want, last)
		}
		// A reader that has the last message misses nothing; any other one misses some if
		// there is no history.
		for missed, since := range []pubsub.Position{last, ps[12+i].Position} {
			p, err := s.Read(t.Context(), name, remote.Range{After: since, Until: remote.Last, Newest: remote.All})
			if covered := p.From <= since.Offset; err != nil || covered != (missed == 0 || want > 0) {
				t.Errorf("%s since %v: %+v, %v", name, since, p, err)
			}
		}
		ms, _ := strconv.Atoi(strings.TrimSpace(server.Client("PTTL", "notiflux:{0}:t:"+string(name))))
		if most := []time.Duration{time.Minute, 0, time.Hour, historyAge}[i]; want == 0 && ms != -2 || want > 0 && (ms <= 0 || time.Duration(ms)*time.Millisecond > most || time.Duration(ms)*time.Millisecond < most-10*time.Second) {
			t.Errorf("the stream of %s lives for %d ms, want about %v", name, ms, most)
		}
	}
}

// When the history of a topic is turned off and on again, nobody takes the messages from before
// for all that there were.
func TestHistoryIsTurnedOffAndOn(t *testing.T) {
	server := redistest.Start(t)
	off := &topic.Limits{Off: true}
	limits := off
	s := redis.NewScriptsForTest(redis.Config{
		Options: redis.Options{Addresses: []string{server.Addr}}, Prefix: "notiflux:",
		Limits: func(pubsub.Topic) *topic.Limits { return limits },
	})
	defer s.Close()
	read := func(since pubsub.Position) remote.Page {
		return readAfter(t, s, remote.Range{After: since, Until: remote.Last, Newest: remote.All})
	}
	limits = nil
	on := publishAll(t, s, 3)
	if p := read(on[0]); p.From != on[0].Offset || len(p.Messages) != 2 {
		t.Fatalf("with a history: %+v", p)
	}
	limits = off
	without := publishAll(t, s, 2)
	for _, since := range []pubsub.Position{on[0], on[2], without[0]} {
		if p := read(since); p.From <= since.Offset || len(p.Messages) > 0 {
			t.Errorf("without a history, since %v: %+v", since, p)
		}
	}
	limits = nil
	again := publishAll(t, s, 2)
	for _, since := range []pubsub.Position{on[0], on[2], without[0]} {
		if p := read(since); p.From <= since.Offset || len(p.Messages) > 2 {
			t.Errorf("with a history again, since %v: %+v", since, p)
		}
	}
	if p := read(without[1]); p.From != without[1].Offset || len(p.Messages) != 2 || p.Messages[1].Position != again[1] {
		t.Errorf("since the last message without a history: %+v", p)
	}
}
