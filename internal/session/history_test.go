package session_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/ikornaselur/notiflux/internal/internaltest/frametest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/session"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
	"github.com/ikornaselur/notiflux/internal/wsframe"
)

// A page is an answer to a history command.
type page struct {
	ID        int
	Position  string
	Recovered bool
	More      bool
	Messages  []struct{ Position, Data string }
}

func parsePage(t tb, text string) (p page) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		t.Fatalf("%v in an answer of %d bytes that ends with %q", err, len(text), text[max(0, len(text)-100):])
	}
	return p
}

// joined returns the messages in sent, each of one or more frames (RFC 6455 section 5.4),
// and the sizes of the frames.
func joined(t tb, sent []byte) (messages []string, sizes []int) {
	t.Helper()
	var message strings.Builder
	inside := false
	for r := bytes.NewReader(sent); r.Len() > 0; {
		before := r.Len()
		frame, err := frametest.ReadFrame(r)
		if err != nil {
			t.Fatalf("after %d frames: %v", len(sizes), err)
		}
		if want := map[bool]wsframe.Opcode{false: wsframe.Text, true: wsframe.Continuation}[inside]; frame.Opcode() != want {
			t.Fatalf("frame %d has the opcode %x, want %x", len(sizes), frame.Opcode(), want)
		}
		sizes = append(sizes, before-r.Len())
		message.Write(frame.Payload)
		if inside = !frame.Fin(); !inside {
			messages = append(messages, message.String())
			message.Reset()
		}
	}
	if inside {
		messages = append(messages, "unfinished")
	}
	return messages, sizes
}

// largest is the maximum frame size of a large answer.
const largest = 64 << 10

// awkward returns a string whose JSON is six times as long.
func awkward(n int) string { return strings.Repeat("\x01", n) }

// However the socket takes it, a large answer is one message, its frames have a limited
// size, and nothing comes between them.
func TestALargeHistoryComesInFragments(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, topic.Limits{}, nil)
		texts := []string{strings.Repeat("é😀", 10_000), awkward(15_000), "", "short\u2028\u0085"}
		for _, text := range texts {
			w.publish("a", text)
		}
		w.order(pubsub.Publication{Topic: "a", Body: pubsub.Body{Data: []byte(`"` + strings.Repeat("j", 100_000) + `"`), JSON: true}})
		texts = append(texts, strings.Repeat("j", 100_000))
		c := w.connectJSON(t, w.both("a"))
		c.exchange(t, []string{`{"type":"subscribe","topics":["a"]}`, `{"type":"subscribed","topics":{"a":{"position":"E:5","recovered":true,"replay":0}}}`})
		from := len(c.sent)
		c.say(`{"type":"history","id":7,"topic":"a"}`)
		for i := 0; c.s.Busy(); i++ {
			if i < 3 {
				w.publish("a", fmt.Sprint("live ", i))
			}
			w.group.Collect()
			c.write(rapid.IntRange(0, 100_000).Draw(rt, "taken"))
		}
		c.turn()
		messages, sizes := joined(t, c.sent[from:])
		for _, size := range sizes {
			if size > largest {
				t.Fatalf("a frame has %d bytes, more than %d", size, largest)
			}
		}
		p := parsePage(t, messages[0])
		if p.ID != 7 || p.Position != "E:5" || !p.Recovered || p.More || len(p.Messages) != len(texts) {
			t.Fatalf("%d messages, %s, recovered %t, more %t", len(p.Messages), p.Position, p.Recovered, p.More)
		}
		for i, m := range p.Messages {
			if m.Data != texts[i] {
				t.Fatalf("message %d has %d bytes, want %d", i, len(m.Data), len(texts[i]))
			}
		}
		for i, m := range messages[1:] {
			if want := fmt.Sprintf(`"data":"live %d"`, i); !strings.Contains(m, want) {
				t.Fatalf("after the answer came %s, want %s", m, want)
			}
		}
	})
}

// An answer is limited by its encoded size, not by the size of the messages. Read in pages,
// nothing is missing.
func TestAHistoryIsBoundedByItsEncodedBytes(t *testing.T) {
	w := newWorld(t, topic.Limits{}, nil)
	const n, size = 50, 20_000 // 1 MB of data, 6 MB of JSON
	for range n {
		w.publish("a", awkward(size))
	}
	w.publish("a", "last")
	c := w.connectJSON(t, w.both("a"))
	since, got := "E:0", 0
	for pages := 1; ; pages++ {
		from := len(c.sent)
		c.say(fmt.Sprintf(`{"type":"history","topic":"a","since":%q,"limit":1000}`, since))
		c.turn()
		messages, _ := joined(t, c.sent[from:])
		if most := 1<<20 + 6*size + 1000; len(messages) != 1 || len(messages[0]) > most {
			t.Fatalf("page %d has %d bytes, more than %d", pages, len(messages[0]), most)
		}
		p := parsePage(t, messages[0])
		if !p.Recovered || len(p.Messages) == 0 || p.Position != p.Messages[len(p.Messages)-1].Position {
			t.Fatalf("page %d: %d messages, position %s, recovered %t", pages, len(p.Messages), p.Position, p.Recovered)
		}
		since, got = p.Position, got+len(p.Messages)
		if !p.More {
			break
		}
	}
	if got != n+1 {
		t.Errorf("%d messages, want %d", got, n+1)
	}
}

// A client that does not read a large answer keeps only a part of it in memory.
func TestAnUnreadAnswerHoldsLittle(t *testing.T) {
	w := newWorld(t, topic.Limits{}, nil)
	for range 20 {
		w.publish("a", awkward(50_000))
	}
	info := []byte(`"` + strings.Repeat("i", 1000) + `"`)
	for i := range 1000 {
		w.presence.Join("a", pubsub.Member{Sub: fmt.Sprint("member ", i), Info: info})
	}
	for _, command := range []string{`{"type":"history","topic":"a"}`, `{"type":"presence","topic":"a"}`} {
		const n = 100
		clients := make([]*client, n)
		for i := range clients {
			clients[i] = w.connectJSON(t, w.both("a"))
		}
		held := heap(func() {
			for _, c := range clients {
				c.say(command)
				c.write(1)
				if !c.s.Busy() {
					t.Fatal("further commands do not wait for the answer")
				}
			}
		})
		if most := int64(n * (largest + 64<<10)); held > most {
			t.Errorf("%d unread answers to %s hold %d KiB, more than %d", n, command, held>>10, most>>10)
		}
		for _, c := range clients { // This keeps all of them alive until here.
			from := len(c.sent) - 1
			c.turn()
			if messages, _ := joined(t, c.sent[from:]); len(messages) != 1 || !json.Valid([]byte(messages[0])) {
				t.Errorf("%s was answered with %d messages", command, len(messages))
			}
		}
	}
}

// Messages that only an unread answer keeps in memory count as lag.
func TestAnUnreadHistoryLags(t *testing.T) {
	w := newWorld(t, topic.Limits{Count: 10}, func(c *session.Config) { c.MaxLagBytes = 1 << 20 })
	fill := func() {
		for range 10 {
			w.publish("a", strings.Repeat("x", 50_000))
		}
	}
	fill()
	c := w.connectJSON(t, w.both("a"))
	from := len(c.sent)
	c.say(`{"type":"history","topic":"a"}`)
	c.write(100)
	fill()
	c.s.Tick(time.Second)
	if c.code != 0 {
		t.Fatalf("closed with %d within the limit", c.code)
	}
	fill()
	fill()
	c.s.Tick(2 * time.Second)
	if c.code != wire.CloseTooSlow {
		t.Fatalf("close code %d, want %d", c.code, wire.CloseTooSlow)
	}
	// The frame in progress is finished, and no bye comes inside the answer.
	c.sent = append(c.sent, c.s.Rest()...)
	if messages, _ := joined(t, c.sent[from:]); len(messages) != 1 || messages[0] != "unfinished" {
		t.Errorf("%d messages after the close", len(messages))
	}
}

// If another part of the server closes a connection, the client gets the complete answer,
// begun or not, and no messages of its topics.
func TestAnAnswerIsFinishedInAClose(t *testing.T) {
	for _, written := range []int{0, 1, 100_000} {
		w := newWorld(t, topic.Limits{}, nil)
		for range 10 {
			w.publish("a", strings.Repeat("x", 50_000))
		}
		c := w.connectJSON(t, w.both("a"))
		c.say(`{"type":"subscribe","topics":["a"]}`)
		c.turn()
		from := len(c.sent)
		c.say(`{"type":"history","topic":"a"}`)
		c.write(written)
		w.publish("a", "not an answer")
		w.group.Collect()
		for {
			p := c.s.Rest()
			if len(p) == 0 {
				p = c.s.Answers()
			}
			if len(p) == 0 {
				break
			}
			n := min(len(p), 10_000)
			c.sent = append(c.sent, p[:n]...)
			c.s.Wrote(n)
		}
		messages, _ := joined(t, c.sent[from:])
		if len(messages) != 1 || len(parsePage(t, messages[0]).Messages) != 10 {
			t.Errorf("%d bytes before the close: %d messages", written, len(messages))
		}
	}
}

// A shutdown waits for an answer in progress, and says goodbye after it.
func TestDrainFinishesALargeAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, topic.Limits{}, nil)
		for range 10 {
			w.publish("a", strings.Repeat("x", 50_000))
		}
		c := w.connectJSON(t, w.both("a"))
		from := len(c.sent)
		c.say(`{"type":"history","topic":"a"}`)
		c.write(100)
		w.group.Drain(0)
		synctest.Wait()
		w.loop.run()
		for c.code == 0 {
			c.write(10_000)
		}
		messages, _ := joined(t, c.sent[from:])
		if len(messages) != 2 || len(parsePage(t, messages[0]).Messages) != 10 || !strings.HasPrefix(messages[1], `{"type":"bye","code":"draining"`) {
			t.Errorf("%d messages", len(messages))
		}
	})
}

// Events of the server wait for the end of a large answer.
func TestEventsWaitForALargeAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, topic.Limits{}, nil)
		for range 10 {
			w.publish("a", strings.Repeat("x", 50_000))
		}
		c := w.connectJSON(t, w.user("s", "", time.Now().Add(time.Minute)))
		c.exchange(t, []string{`{"type":"subscribe","topics":["a"]}`, `{"type":"subscribed","topics":{"a":{"position":"E:10","recovered":true,"replay":0}}}`})
		from := len(c.sent)
		c.say(`{"type":"history","topic":"a"}`)
		c.write(100_000)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		w.loop.run()
		c.turn()
		messages, _ := joined(t, c.sent[from:])
		if len(messages) != 2 || len(parsePage(t, messages[0]).Messages) != 10 || !strings.HasPrefix(messages[1], `{"type":"unsubscribed"`) {
			t.Errorf("%d messages, the last one %s", len(messages), messages[len(messages)-1])
		}
	})
}

// A client that has left costs nothing more.
func TestAHistoryForAClientThatIsGone(t *testing.T) {
	w := newWorld(t, topic.Limits{}, nil)
	w.publish("a", strings.Repeat("x", 500_000))
	c := w.connectJSON(t, w.both("a"))
	c.s.Receive([]byte(`{"type":"history","topic":"a"}`), false)
	c.leave()
	w.workers.work(context.Background())
	w.loop.run()
	if p := c.s.Next(); len(p) > 0 {
		t.Errorf("%d bytes for a client that has left", len(p))
	}
}
