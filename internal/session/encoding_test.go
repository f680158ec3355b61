package session_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

func long(i int) string { return fmt.Sprint(i) + strings.Repeat("0123456789", 100) }

// Each client gets the messages in its own encoding, wherever its socket splits them.
func TestSessionsOfBothEncodings(t *testing.T) {
	for n := 1; n < 60; n++ {
		w := newWorld(t, topic.Limits{}, nil)
		plain, deflated := w.connect(), w.connectWith(textDeflated)
		plain.subscribe("a")
		deflated.subscribe("a")
		w.publish("a", long(1))
		w.publish("a", "short")
		w.publish("a", long(2))
		w.group.Collect()
		plain.write(n)
		deflated.write(n)
		w.publish("a", long(3))
		plain.expect(t, long(1), "short", long(2), long(3))
		deflated.expect(t, long(1), "short", long(2), long(3))
		if len(deflated.sent) > 500 || len(plain.sent) < 3000 {
			t.Fatalf("%d bytes compressed, %d plain", len(deflated.sent), len(plain.sent))
		}
	}
}

// If the log drops a message while a socket takes it, the frame continues where it was
// split, even though it is encoded again.
func TestAMessageIsDroppedWhileItIsWritten(t *testing.T) {
	for _, e := range []form{text, textDeflated} { // the encodings of the text protocol
		for cut := 1; ; cut++ {
			w := newWorld(t, topic.Limits{Count: 2}, nil)
			c := w.connectWith(e)
			c.subscribe("a")
			w.publish("a", long(1))
			w.publish("a", "short")
			w.group.Collect()
			given := c.s.Next()
			if cut > len(given) {
				break
			}
			c.sent = append(c.sent, given[:cut]...)
			w.publish("a", long(2))
			w.publish("a", long(3))
			if got := w.topics.Stats().FrameBytes; got != 0 {
				t.Fatalf("%d bytes of frames of messages that were dropped", got)
			}
			c.s.Wrote(cut)
			w.publish("a", long(4))
			c.expect(t, long(1), "short", long(2), long(3), long(4))
		}
	}
}

// The frame in progress is finished in the client's encoding.
func TestUnsubscribeInsideACompressedFrame(t *testing.T) {
	w := newWorld(t, topic.Limits{}, nil)
	c := w.connectWith(textDeflated)
	c.subscribe("a")
	w.publish("a", long(1))
	w.group.Collect()
	c.write(7)
	c.say("/unsubscribe a")
	w.publish("a", long(2))
	c.expect(t, long(1))
}

// A message is compressed once, and the result is shared.
func TestACompressedFrameIsShared(t *testing.T) {
	const clients = 50
	w := newWorld(t, topic.Limits{}, nil)
	var all [clients]*client
	for i := range all {
		all[i] = w.connectWith(textDeflated)
		all[i].subscribe("a")
	}
	w.publish("a", long(1))
	w.group.Collect()
	first := all[0].s.Next()
	all[0].s.Wrote(0)
	for i, c := range all {
		p := c.s.Next()
		if &p[0] != &first[0] {
			t.Fatalf("client %d has its own copy of the frame", i)
		}
		c.s.Wrote(0)
	}
	got := testing.AllocsPerRun(100, func() {
		for _, c := range all {
			c.s.Next()
			c.s.Wrote(0)
		}
	})
	if got > 0 {
		t.Errorf("%v allocations for %d clients, want 0", got, clients)
	}
}

// A write contains a limited number of message bytes, however well they compress, because
// they may have to be compressed again.
func TestWriteHoldsLimitedMessageBytes(t *testing.T) {
	for _, topics := range [][]pubsub.Topic{{"a"}, {"a", "b", "c"}} {
		w := newWorld(t, topic.Limits{}, nil)
		c := w.connectWith(textDeflated)
		for _, topic := range topics {
			c.subscribe(topic)
			for i := range 1000 {
				w.publish(topic, long(i))
			}
		}
		w.group.Collect()
		p := c.s.Next()
		c.sent = append(c.sent, p...)
		c.s.Wrote(len(p))
		bytes := 0
		for _, m := range c.messages() {
			bytes += len(m)
		}
		if bytes < 32<<10 || bytes > 80<<10 {
			t.Errorf("%d topics: a write has %d bytes of messages in %d bytes, want some 64 KiB", len(topics), bytes, len(p))
		}
	}
}

// A client that reconnects to many messages that exclude it passes them. They are not
// encoded for it.
func TestManyExcludedMessagesArePassed(t *testing.T) {
	const messages = 300
	w := newWorld(t, topic.Limits{}, nil)
	c := w.connectJSON(t, w.both("a"))
	for i := range messages {
		c.exchange(t, []string{
			fmt.Sprintf(`{"type":"broadcast","topic":"a","message":%q,"echo":false}`, long(i)),
			fmt.Sprintf(`{"type":"broadcasted","topic":"a","position":"E:%d"}`, i+1),
		})
	}
	w.publish("a", "for everybody")
	c.exchange(t, []string{
		`{"type":"subscribe","topics":["a"],"since":{"a":"E:0"}}`,
		`{"type":"subscribed","topics":{"a":{"position":"E:0","recovered":true,"replay":1}}}`,
		fmt.Sprintf(`{"type":"message","topic":"a","position":"E:%d","time":0,"data":"for everybody"}`, messages+1),
	})
	if got := w.topics.Stats().FrameBytes; got > messages*1000/2 {
		t.Errorf("%d bytes of frames for a client that gets one message", got)
	}
}
