package topic_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// escaping is an encoder that turns each byte into six, as JSON escapes can.
type escaping struct{}

func (escaping) Encode(e *topic.Entry) []byte { return make([]byte, 100+6*len(e.Message().Body.Data)) }

// readAll reads from c to the tail in every encoding, as the loops do. It returns the tail.
func readAll(c topic.Cursor) topic.Cursor {
	for {
		entry, next, ok := c.Next()
		if !ok {
			return c
		}
		for encoding := range uint8(encodings) {
			entry.Frame(encoding, escaping{})
		}
		c = next
	}
}

// Config.TotalBytes also limits the frames that readers of all encodings keep.
func TestTotalBytesHoldsForFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 1 << 20
		topics, c := newTopics(topic.Config{TotalBytes: most}), new(counter)
		ctx, stop := context.WithCancel(t.Context())
		go topics.Run(ctx)
		defer synctest.Wait()
		defer stop()
		within := func(when string) {
			t.Helper()
			if s := topics.Stats(); s.Bytes+s.FrameBytes > most || s.FrameBytes < 0 {
				t.Fatalf("%s the logs hold %d bytes, and %d in frames; want at most %d", when, s.Bytes, s.FrameBytes, most)
			}
		}
		control := bytes.Repeat([]byte{1}, 1000) // In JSON each byte takes six bytes.
		_, live, err := join(topics, "live", new(listener), topic.ResumePoint{})
		if err != nil {
			t.Fatal(err)
		}
		reader := live.Cursor
		for i := range 1000 {
			for _, topic := range []pubsub.Topic{"live", pubsub.Topic(fmt.Sprint("quiet", i%10))} {
				topics.Order([]pubsub.Publication{{Topic: topic, Body: pubsub.Body{Data: control}}}, c.next)
			}
			within("after a message")
			reader = readAll(reader)
			synctest.Wait()
			within("after clients of every dialect read it")
		}
		if s := topics.Stats(); s.FrameBytes == 0 || s.Bytes == 0 {
			t.Errorf("%+v, want messages and frames", s)
		}
		// A replay encodes many messages at once.
		for i := range 10 {
			_, old, err := join(topics, pubsub.Topic(fmt.Sprint("quiet", i)), new(listener), topic.ResumePoint{Last: 1000})
			if err != nil {
				t.Fatal(err)
			}
			readAll(old.Cursor)
			synctest.Wait()
			within("after a replay")
		}
	})
}

// Config.TotalBytes also limits the logs of presence events.
func TestTotalBytesHoldsForPresenceEvents(t *testing.T) {
	const most = 100 << 10
	topics := newTopics(topic.Config{TotalBytes: most})
	_, resumed, err := join(topics, topic.PresenceTopic("t"), new(listener), topic.ResumePoint{})
	if err != nil {
		t.Fatal(err)
	}
	reader := resumed.Cursor
	for range 300 {
		topics.AppendPresence("t", &pubsub.PresenceEvent{Topic: "t", Members: []pubsub.Member{{Sub: strings.Repeat("x", 1000)}}})
		if s := topics.Stats(); s.Bytes+s.FrameBytes > most {
			t.Fatalf("the logs hold %d bytes, and %d in frames; want at most %d", s.Bytes, s.FrameBytes, most)
		}
		reader = readAll(reader)
	}
	if topics.Stats().FrameBytes == 0 {
		t.Error("no frame is kept")
	}
}

// A topic that is dropped with its messages frees their frames.
func TestDroppedTopicFreesItsFrames(t *testing.T) {
	topics, c := newTopics(topic.Config{MaxTopics: 1}), new(counter)
	const messages = 1000
	for range messages {
		appendTo(t, topics, c, "a", 10)
	}
	var l listener
	a, resumed, err := join(topics, "a", &l, topic.ResumePoint{Last: messages})
	if err != nil {
		t.Fatal(err)
	}
	reader := resumed.Cursor
	readAll(reader)
	topics.Leave(a, &l)
	if topics.Stats().FrameBytes == 0 {
		t.Fatal("no frame is kept")
	}
	appendTo(t, topics, c, "b", 10) // There is room for one topic.
	topics.Sweep()
	readAll(reader) // A slow reader still gets all messages.
	if s := topics.Stats(); s.FrameBytes != 0 || s.Bytes != 10+topic.Overhead || s.Evicted != messages {
		t.Errorf("%+v, want one message, no frames, and %d messages evicted", s, messages)
	}
}
