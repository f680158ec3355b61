package client_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/ikornaselur/notiflux/client"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// A client survives whatever a server says, and believes no half of it.
func FuzzFrame(f *testing.F) {
	for _, seed := range []string{
		message("a", 1, `{"x":[null]}`), subscribedTo(1, "a"),
		`{"type":"welcome","connection":"00","version":"0","ping":25,"limits":{"message":65536}}`,
		`{"type":"join","topic":"a","members":[{"sub":"u1","info":{"x":1}},{"sub":"u2"}]}`,
		`{"type":"leave","topic":"a","member":{"sub":"u1"}}`,
		`{"type":"subscribed","id":1,"topics":{},"refused":{"a":{"code":"topic_denied","message":"no"}}}`,
		`{"type":"bye","code":"draining","after":-1}`, `{"type":1}`, `{"type":"later","id":"x","topics":1}`, `{"type":"later","id":"x"`, `{"id":1e99}`, `[]`, `{`, ``,
		`{"messages":[{"topic":"a","position":"E:1","time":1,"data":1}],"position":"E:1","recovered":true,"more":false}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		kind, members, err := client.ParseFrameForTest(data)
		if err != nil && (kind != "" || members != nil) {
			t.Errorf("ParseFrame(%q) = %q, %v and %v", data, kind, members, err)
		}
		if err == nil && !json.Valid(data) {
			t.Errorf("ParseFrame(%q) takes what is no JSON", data)
		}
		for _, m := range members {
			if m.Info != nil && !json.Valid(m.Info) {
				t.Errorf("ParseFrame(%q) gives info %q", data, m.Info)
			}
		}
		h, err := client.ParseHistoryForTest(data)
		if err == nil && h.Position.Epoch == "" {
			t.Errorf("ParseHistory(%q) gives no position", data)
		}
	})
}

// The data of events is what was written, however the stream is cut into reads,
// and an event that is cut off is none.
func FuzzEvents(f *testing.F) {
	f.Add([]byte("retry: 1730\nevent: hello\ndata: {}\nid: x\n\n:\n\ndata:1\r\ndata: 2\r\n\r\ndata: cut"), `{"x":1}`, 3)
	f.Add([]byte("data\n\n"), "", 0)
	f.Fuzz(func(t *testing.T, stream []byte, data string, cut int) {
		read := func(r io.Reader) (all []string) {
			events := client.NewEventReaderForTest(r, func() {})
			for {
				data, err := events.Next()
				if err != nil {
					return all
				}
				all = append(all, string(data))
			}
		}
		whole, pieces := read(bytes.NewReader(stream)), read(iotest.OneByteReader(bytes.NewReader(stream)))
		if fmt.Sprint(whole) != fmt.Sprint(pieces) {
			t.Errorf("%q is read as %q, by bytes as %q", stream, whole, pieces)
		}
		if strings.ContainsAny(data, "\r\n") {
			return
		}
		event := "event: message\ndata: " + data + "\nid: x\n\n"
		if got := read(strings.NewReader(event)); len(got) != 1 || got[0] != data {
			t.Errorf("%q is read as %q", event, got)
		}
		if got := read(strings.NewReader(event[:min(max(cut, 0), len(event)-1)])); len(got) > 0 {
			t.Errorf("an event that is cut off is read as %q", got)
		}
	})
}

func TestCursorsAreThoseOfTheServer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		epoch := rapid.StringMatching(`[0-9A-Za-z]{1,64}`).Draw(t, "epoch")
		names := rapid.SliceOfNDistinct(rapid.StringN(1, 20, -1), 1, 10, rapid.ID[string]).Draw(t, "topics")
		offsets := map[pubsub.Topic]uint64{}
		for _, name := range names {
			offsets[pubsub.Topic(name)] = rapid.Uint64().Draw(t, "offset")
		}
		text := client.AppendCursorForTest(epoch, offsets)
		cursor, err := wire.ParseStreamCursor(text)
		if err != nil {
			t.Fatalf("ParseCursor(%q): %v", text, err)
		}
		for topic, offset := range offsets {
			if got, ok := cursor.Since(topic); !ok || got != (pubsub.Position{Epoch: epoch, Offset: offset}) {
				t.Errorf("Since(%q) = %v, %v; want %s:%d", topic, got, ok, epoch, offset)
			}
		}
	})
}
