package redis_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker/redis"
	"github.com/ikornaselur/notiflux/internal/broker/remote"
	"github.com/ikornaselur/notiflux/internal/internaltest/redistest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

const historyAge = 5 * time.Minute

// scripts returns the scripts of a node, for a server.
func scripts(s *redistest.Server, prefix string, messages int) redis.ScriptsForTest {
	return redis.NewScriptsForTest(redis.Config{
		Options: redis.Options{Addresses: []string{s.Addr}}, Prefix: prefix, Messages: messages, Age: historyAge,
	})
}

// publishAll publishes n messages in the topic t, and returns their positions.
func publishAll(t *testing.T, s redis.ScriptsForTest, n int) (all []pubsub.Position) {
	t.Helper()
	ps := make([]pubsub.Publication, n)
	for i := range ps {
		ps[i].Topic, ps[i].Body.Data = "t", fmt.Append(nil, i)
	}
	if err := s.Publish(t.Context(), ps, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	for _, p := range ps {
		if p.Err != nil {
			t.Fatal(p.Err)
		}
		all = append(all, p.Position)
	}
	return all
}

func readAfter(t *testing.T, s redis.ScriptsForTest, q remote.Range) remote.Page {
	t.Helper()
	p, err := s.Read(t.Context(), "t", q)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A replica is promoted that lacks the last message, and whose clock is behind. A node that
// has the message gets no older ones again.
func TestReplicaWithSlowClock(t *testing.T) {
	server := redistest.Start(t)
	s := scripts(server, "notiflux:", 10)
	defer s.Close()
	publishAll(t, s, 1)
	server.Client("HINCRBY", "notiflux:{0}:m", "last", "1000000000000")
	last := publishAll(t, s, 3)[2]
	server.Client("DEBUG", "CHANGE-REPL-ID")
	lost := pubsub.Position{Epoch: last.Epoch, Offset: last.Offset + 1}
	for _, whole := range []bool{false, true} {
		want := map[bool]int{false: 0, true: 4}[whole]
		p := readAfter(t, s, remote.Range{After: lost, Until: remote.Last, Newest: remote.All, Whole: whole})
		if len(p.Messages) != want || p.Epoch == lost.Epoch {
			t.Errorf("after %v, whole: %v, a read returns %+v, want %d messages of a new epoch", lost, whole, p, want)
		}
	}
}

// The clock of Redis was set back, and then the epoch was lost: the offsets of messages are
// beyond the time.
func TestEpochBeginsBeforeItsMessages(t *testing.T) {
	begin := func(t *testing.T) (*redistest.Server, redis.ScriptsForTest, []pubsub.Position) {
		server := redistest.Start(t)
		s := scripts(server, "notiflux:", 10)
		t.Cleanup(s.Close)
		publishAll(t, s, 1)
		server.Client("HINCRBY", "notiflux:{0}:m", "last", "1000000000000")
		at := publishAll(t, s, 3)
		server.Client("DEL", "notiflux:{0}:m")
		return server, s, at
	}
	t.Run("a read knows what it returns", func(t *testing.T) {
		_, s, at := begin(t)
		p := readAfter(t, s, remote.Range{Until: remote.Last, Newest: remote.All})
		if n := len(p.Messages); n != 4 || p.Last != at[2].Offset {
			t.Fatalf("%d messages, the last one at %d, want 4 messages up to %d", n, p.Last, at[2].Offset)
		}
		end := p.Messages[3].Position
		if p := readAfter(t, s, remote.Range{After: end, Until: remote.Last, Newest: remote.All}); p.From != end.Offset || len(p.Messages) > 0 {
			t.Errorf("a read after the last message %v = %+v", end, p)
		}
	})
	t.Run("a topic without a head takes messages", func(t *testing.T) {
		server, s, at := begin(t)
		server.Client("DEL", "notiflux:{0}:h:t")
		heads, err := s.Heads(t.Context(), []pubsub.Topic{"t"})
		if err != nil || heads["t"].Offset != at[2].Offset {
			t.Errorf("Heads = %v, %v, want the offset %d", heads, err, at[2].Offset)
		}
		if next := publishAll(t, s, 1); next[0].Offset != at[2].Offset+1 {
			t.Errorf("the next message has the offset %d, want %d", next[0].Offset, at[2].Offset+1)
		}
	})
}

// Redis has lost message 3. A read up to message 2 cannot tell whether another one is missing,
// because only message 3 named the one before it. Reads up to messages 0 and 1 can.
func TestLossBeyondARange(t *testing.T) {
	server := redistest.Start(t)
	s := scripts(server, "notiflux:", 10)
	defer s.Close()
	at := publishAll(t, s, 5)
	server.Client("XDEL", "notiflux:{0}:t:t", fmt.Sprint(at[3].Offset, "-0"))
	for i, want := range []int{1, 2, 0, 0, 1} {
		p := readAfter(t, s, remote.Range{Until: at[i].Offset, Newest: remote.All})
		if len(p.Messages) != want {
			t.Errorf("up to message %d, a read returns %d messages, want %d", i, len(p.Messages), want)
		}
	}
}
