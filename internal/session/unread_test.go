package session_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/session"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// budget is a session.Budget.
type budget struct{ most, used int }

func (b *budget) Charge(n int) bool { b.used += n; return b.used <= b.most }
func (b *budget) Release(n int)     { b.used -= n }
func (b *budget) Share() int        { return max(0, b.most-b.used) }

// charging returns a world and the budget of its sessions.
func charging(t *testing.T, most int) (*world, *budget) {
	t.Helper()
	b := &budget{most: most}
	return newWorld(t, topic.Limits{}, func(c *session.Config) { c.Unread, c.UnauthenticatedUnread = b, b }), b
}

// muchRefused returns a command whose answer has about 38 KB.
func muchRefused() string {
	var topics []string
	for i := range 100 {
		topics = append(topics, fmt.Sprintf("%q", fmt.Sprint(strings.Repeat("t", 240), i)))
	}
	return `{"type":"subscribe","topics":[` + strings.Join(topics, ",") + `]}`
}

func TestUnreadAnswersAreCharged(t *testing.T) {
	w, b := charging(t, 1<<20)
	c := w.connectJSON(t, w.both("a"))
	if b.used != 0 {
		t.Errorf("a session without answers is charged for %d bytes", b.used)
	}
	c.say(muchRefused())
	whole := b.used
	if whole < 30_000 {
		t.Errorf("charged for %d bytes, with an answer of more than 30,000", whole)
	}
	c.write(20_000)
	if b.used == 0 || b.used > whole-15_000 {
		t.Errorf("charged for %d bytes of %d when 20,000 are read", b.used, whole)
	}
	if c.turn(); b.used != 0 {
		t.Errorf("charged for %d bytes after everything was read", b.used)
	}
}

// A session whose answer does not fit ends and tells the client why. Others continue.
func TestNoRoomForAnswers(t *testing.T) {
	w, b := charging(t, 80_000)
	first, second, other := w.connectJSON(t, w.both("a")), w.connectJSON(t, w.both("a")), w.connectJSON(t, w.both("a"))
	for _, c := range []*client{first, second} {
		c.say(muchRefused())
		c.settle()
	}
	if first.code != 0 {
		t.Errorf("the first one is closed with %d", first.code)
	}
	if got := second.received(); second.code != wire.CloseOverCapacity || len(got) != 1 || !strings.HasPrefix(got[0], `{"type":"bye","code":"over_capacity","after":`) {
		t.Errorf("the second one is closed with %d and %q", second.code, got)
	}
	if b.used > b.most {
		t.Errorf("%d bytes are charged, which is more than %d", b.used, b.most)
	}
	b.most = 0
	other.exchange(t, []string{`{"type":"ping"}`, `{"type":"pong"}`})
	first.leave()
	second.leave()
	if b.used != 0 {
		t.Errorf("%d bytes are charged when every client has left", b.used)
	}
}

// The rest of a frame that only this session has is charged, wherever the frame is split.
func TestCutFramesOfStreamsAreCharged(t *testing.T) {
	for cut := 1; cut < 40_000; cut += 777 {
		b := &budget{most: 1 << 20}
		w := newWorld(t, topic.Limits{Count: 100}, func(c *session.Config) { c.Unread = b })
		c := &client{w: w}
		c.openStream(sse, onTopics("a", "b"))
		c.turn()
		for i := range 2 {
			w.publish("a", strings.Repeat(fmt.Sprint(i), 20_000))
		}
		w.group.Collect()
		c.write(cut)
		if rest := len(c.s.Rest()); b.used < rest-4<<10 {
			t.Fatalf("cut after %d bytes: charged for %d bytes, %d are left of the frame", cut, b.used, rest)
		}
		c.write(5000)
		if rest := len(c.s.Rest()); b.used < rest-4<<10 || b.used > rest+4<<10 {
			t.Fatalf("cut after %d bytes more: charged for %d bytes, %d are left of the frame", cut, b.used, rest)
		}
		if cut%2 == 0 {
			c.turn()
		} else {
			c.leave()
		}
		if b.used != 0 {
			t.Fatalf("cut after %d bytes: %d are charged at the end", cut, b.used)
		}
	}
}

// The rest of a frame of a history is charged too.
func TestCutFramesOfHistoriesAreCharged(t *testing.T) {
	b := &budget{most: 1 << 20}
	w := newWorld(t, topic.Limits{Count: 100}, func(c *session.Config) { c.Unread = b })
	for range 100 {
		w.publish("a", strings.Repeat("x", 1000))
	}
	c := w.connectJSON(t, w.both("a"))
	c.say(`{"type":"history","topic":"a"}`)
	for c.write(30_000); len(c.s.Rest()) > 0; c.write(7000) {
		if rest := len(c.s.Rest()); b.used < rest-4<<10 || b.used > rest+4<<10 {
			t.Fatalf("charged for %d bytes, %d are left of the frame", b.used, rest)
		}
	}
	if c.turn(); b.used != 0 {
		t.Errorf("%d bytes are charged at the end", b.used)
	}
}

// A list of members is charged, because only its session keeps it in memory.
func TestListsOfMembersAreCharged(t *testing.T) {
	w, b := charging(t, 1<<20)
	for i := range 1000 {
		w.presence.Join("a", pubsub.Member{Sub: fmt.Sprint("member ", i)})
	}
	reads, leaves := w.connectJSON(t, w.both("a")), w.connectJSON(t, w.both("a"))
	for _, c := range []*client{reads, leaves} {
		before := b.used
		c.say(`{"type":"presence","topic":"a"}`)
		if got := b.used - before; got < 30_000 {
			t.Errorf("charged for %d bytes, with a list of 1,000 members", got)
		}
	}
	reads.turn()
	leaves.leave()
	if b.used != 0 {
		t.Errorf("charged for %d bytes when everything was read", b.used)
	}
}

// If there is no room, a client that reads its answer at once still gets it.
func TestAClientThatReadsAtOnceNeedsNoRoom(t *testing.T) {
	w, b := charging(t, 0)
	c := w.connectJSON(t, w.both("a"))
	c.s.Receive([]byte(muchRefused()), false)
	c.turn()
	c.settle()
	if c.code != 0 || len(c.messages()) == 0 {
		t.Errorf("closed with %d", c.code)
	}
	if b.used != 0 {
		t.Errorf("%d bytes are charged at the end", b.used)
	}
}

// A client that reads slowly is not closed for lack of room, and a history keeps little
// memory.
func TestASlowReaderNeedsNoRoom(t *testing.T) {
	b := &budget{}
	w := newWorld(t, topic.Limits{Count: 100}, func(c *session.Config) { c.Unread, c.UnauthenticatedUnread = b, b })
	stream := &client{w: w}
	stream.openStream(sse, onTopics("a", "b"))
	for range 10 {
		w.publish("a", strings.Repeat("x", 20_000))
	}
	history := w.connectJSON(t, w.both("a"))
	history.s.Receive([]byte(`{"type":"history","topic":"a"}`), false)
	history.settle()
	for _, c := range []*client{stream, history} {
		w.group.Collect()
		for sent := -1; sent != len(c.sent); {
			sent = len(c.sent)
			c.write(1000)
			c.settle()
			if most := 25_000; c == stream && b.used > most {
				t.Fatalf("%d bytes are charged, more than %d", b.used, most)
			}
			if most := 8 << 10; c == history && b.used > most {
				t.Fatalf("%d bytes are charged, more than %d", b.used, most)
			}
		}
		if c.code != 0 || len(c.sent) < 200_000 {
			t.Errorf("closed with %d after %d bytes", c.code, len(c.sent))
		}
	}
}

// The rest of a frame or of answers is not copied for each piece that the socket takes, and
// its memory is freed on the way.
func TestSmallPiecesAreNotCopied(t *testing.T) {
	for name, c := range map[string]struct {
		open  func(t *testing.T, w *world) *client
		piece int
	}{
		"a stream of two topics": {func(t *testing.T, w *world) *client {
			c := &client{w: w}
			c.openStream(sse, onTopics("a", "b"))
			c.turn()
			w.publish("a", strings.Repeat("x", 2<<20))
			return c
		}, 4 << 10},
		"answers": {func(t *testing.T, w *world) *client {
			c := w.connectJSON(t, w.both("a"))
			c.s.Receive([]byte(muchRefused()), false)
			return c
		}, 64},
	} {
		t.Run(name, func(t *testing.T) {
			w, b := charging(t, 1<<30)
			piece, c := c.piece, c.open(t, w)
			w.group.Collect()
			whole := len(c.s.Next())
			c.s.Wrote(0)
			c.sent = make([]byte, 0, 2*whole)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for len(c.sent) < whole {
				c.write(piece)
				if left := whole - len(c.sent); b.used > 2*left+left/4+4<<10 {
					t.Fatalf("%d bytes are charged, and %d are left", b.used, left)
				}
			}
			runtime.ReadMemStats(&after)
			if n := int(after.TotalAlloc - before.TotalAlloc); n > 8*whole {
				t.Errorf("%d bytes were allocated to write %d", n, whole)
			}
			if c.write(1); len(c.sent) != whole || b.used != 0 {
				t.Errorf("%d bytes were written, want %d; %d are charged", len(c.sent), whole, b.used)
			}
		})
	}
}

// An answer that joins others in progress comes complete after them.
func TestAnswersJoinThoseUnderWay(t *testing.T) {
	w, b := charging(t, 1<<30)
	c := w.connect()
	var want []string
	for range 500 {
		c.say("/dance")
		c.write(1 + len(want)%40)
		want = append(want, "Unknown command")
	}
	c.expect(t, want...)
	if b.used != 0 {
		t.Errorf("%d bytes are charged at the end", b.used)
	}
}
