package wire_test

import (
	"encoding/json"
	"testing"

	"pgregory.net/rapid"

	"github.com/ikornaselur/notiflux/client/internal/wire"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	serverwire "github.com/ikornaselur/notiflux/internal/wire"
)

// A client survives whatever a server says, and believes no half of it.
func FuzzFrame(f *testing.F) {
	for _, seed := range []string{
		`{"type":"message","topic":"a","position":"E:1","time":1790000000000,"data":{"x":[null]}}`,
		`{"type":"subscribed","id":1,"topics":{"a":{"position":"E:0","recovered":true,"replay":0}}}`,
		`{"type":"welcome","connection":"00","version":"0","ping":25,"limits":{"message":65536}}`,
		`{"type":"join","topic":"a","members":[{"sub":"u1","info":{"x":1}},{"sub":"u2"}]}`,
		`{"type":"leave","topic":"a","member":{"sub":"u1"}}`,
		`{"type":"subscribed","id":1,"topics":{},"refused":{"a":{"code":"topic_denied","message":"no"}}}`,
		`{"type":"bye","code":"draining","after":-1}`, `{"type":1}`, `{"type":"later","id":"x","topics":1}`, `{"type":"later","id":"x"`, `{"id":1e99}`, `[]`, `{`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		frame, err := wire.ParseFrame(data)
		if (err == nil) != (frame != nil) {
			t.Fatalf("ParseFrame(%q) = %v and %v", data, frame, err)
		}
		if err != nil {
			return
		}
		if !json.Valid(data) {
			t.Errorf("ParseFrame(%q) takes what is no JSON", data)
		}
		for _, m := range frame.All() {
			if m.Info != nil && !json.Valid(m.Info) {
				t.Errorf("ParseFrame(%q) gives info %q", data, m.Info)
			}
		}
		frame.Answers()
		frame.Ended()
		if w := frame.Welcome(); w.Ping <= 0 || w.Limits.Command <= 0 {
			t.Errorf("the welcome of %q is %+v", data, w)
		}
	})
}

func TestCursorsAreThoseOfTheServer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		epoch := rapid.StringMatching(`[0-9A-Za-z]{1,64}`).Draw(t, "epoch")
		names := rapid.SliceOfNDistinct(rapid.StringN(1, 20, -1), 1, 10, rapid.ID[string]).Draw(t, "topics")
		offsets := map[string]uint64{}
		for _, name := range names {
			offsets[name] = rapid.Uint64().Draw(t, "offset")
		}
		text := wire.StreamCursor(epoch, offsets)
		cursor, err := serverwire.ParseStreamCursor(text)
		if err != nil {
			t.Fatalf("ParseCursor(%q): %v", text, err)
		}
		for topic, offset := range offsets {
			if got, ok := cursor.Since(pubsub.Topic(topic)); !ok || got != (pubsub.Position{Epoch: epoch, Offset: offset}) {
				t.Errorf("Since(%q) = %v, %v; want %s:%d", topic, got, ok, epoch, offset)
			}
		}
	})
}

// What the client takes for a position or a topic, the server does, and nothing else.
func FuzzNames(f *testing.F) {
	for _, seed := range []string{"E:1", "E:01", "E:+1", ":1", "E", "E:", "é:1", "E:18446744073709551615", "E:18446744073709551616", "a b", "\x00", "\u0085", "\xff", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := wire.ParsePosition(s)
		q, err2 := pubsub.ParsePosition(s)
		if (err == nil) != (err2 == nil) || err == nil && (p.String() != s || p.Epoch != q.Epoch || p.Offset != q.Offset) {
			t.Errorf("ParsePosition(%q) = %v, %v; the server has %v, %v", s, p, err, q, err2)
		}
		_, err2 = pubsub.ParseTopic(s)
		if err := wire.CheckTopic(s); (err == nil) != (err2 == nil) {
			t.Errorf("CheckTopic(%q) = %v; the server has %v", s, err, err2)
		}
	})
}
