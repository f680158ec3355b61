package hub_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/hub"
	"github.com/ikornaselur/notiflux/internal/topiclog"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// readAll has a reader of each dialect read from c to the tail, as the loops do.
func readAll(e *wire.Encoder, c topiclog.Cursor) topiclog.Cursor {
	for {
		entry, next, ok := c.Next()
		if !ok {
			return c
		}
		for encoding := range notiflux.Encodings {
			entry.Frame(encoding, e.Encode)
		}
		c = next
	}
}

// What all clients are given is kept in encoded form, and counts.
func TestTotalBytesHoldsForFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 1 << 20
		h, c := hub.New(hub.Config{Epoch: "E", TotalBytes: most}), new(counter)
		ctx, stop := context.WithCancel(t.Context())
		go h.Run(ctx)
		defer synctest.Wait()
		defer stop()
		var e wire.Encoder
		within := func(when string) {
			t.Helper()
			if s := h.Stats(); s.Bytes+s.FrameBytes > most || s.FrameBytes < 0 {
				t.Fatalf("%s the logs hold %d bytes, and %d in frames; want at most %d", when, s.Bytes, s.FrameBytes, most)
			}
		}
		control := bytes.Repeat([]byte{1}, 1000) // In JSON each of them takes six bytes.
		_, live, err := h.Join("live", new(listener), hub.Start{})
		if err != nil {
			t.Fatal(err)
		}
		reader := live.Cursor
		for i := range 1000 {
			for _, topic := range []notiflux.Topic{"live", notiflux.Topic(fmt.Sprint("quiet", i%10))} {
				h.Append([]notiflux.Publication{{Topic: topic, Body: notiflux.Body{Data: control}}}, c.next)
			}
			within("after a message")
			reader = readAll(&e, reader)
			synctest.Wait()
			within("after it was given to clients of every dialect")
		}
		if s := h.Stats(); s.FrameBytes == 0 || s.Bytes == 0 {
			t.Errorf("%+v, want messages and frames", s)
		}
		// All at once: what is replayed is encoded then.
		for i := range 10 {
			_, old, err := h.Join(notiflux.Topic(fmt.Sprint("quiet", i)), new(listener), hub.Start{Last: 1000})
			if err != nil {
				t.Fatal(err)
			}
			readAll(&e, old.Cursor)
			synctest.Wait()
			within("after a replay")
		}
	})
}

// Presence is told by logs that count as well.
func TestTotalBytesHoldsForNotices(t *testing.T) {
	const most = 100 << 10
	h := hub.New(hub.Config{Epoch: "E", TotalBytes: most})
	_, place, err := h.Join(hub.Notices("t"), new(listener), hub.Start{})
	if err != nil {
		t.Fatal(err)
	}
	var e wire.Encoder
	reader := place.Cursor
	for range 300 {
		h.Notify("t", bytes.Repeat([]byte("x"), 1000))
		if s := h.Stats(); s.Bytes+s.FrameBytes > most {
			t.Fatalf("the logs hold %d bytes, and %d in frames; want at most %d", s.Bytes, s.FrameBytes, most)
		}
		reader = readAll(&e, reader)
	}
	if h.Stats().FrameBytes == 0 {
		t.Error("no frame is kept")
	}
}

// Frames go with their topic, whatever lets go of it.
func TestATopicThatGoesTakesItsFrames(t *testing.T) {
	h, c := hub.New(hub.Config{Epoch: "E", MaxTopics: 1}), new(counter)
	var e wire.Encoder
	const messages = 1000
	for range messages {
		appendTo(t, h, c, "a", 10)
	}
	var l listener
	a, place, err := h.Join("a", &l, hub.Start{Last: messages})
	if err != nil {
		t.Fatal(err)
	}
	reader := place.Cursor
	readAll(&e, reader)
	h.Leave(a, &l)
	if h.Stats().FrameBytes == 0 {
		t.Fatal("no frame is kept")
	}
	appendTo(t, h, c, "b", 10) // There is room for one topic.
	h.Sweep()
	readAll(&e, reader) // It is behind, and gets all.
	if s := h.Stats(); s.FrameBytes != 0 || s.Bytes != 10+topiclog.Overhead || s.Evicted != messages {
		t.Errorf("%+v, want one message, no frames, and %d messages evicted", s, messages)
	}
}
