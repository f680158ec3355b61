package wire_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// A message that is encoded piece by piece has the same bytes, and the announced size.
func TestAMessageInPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &pubsub.Message{
			Topic:    pubsub.Topic(rapid.StringMatching(`[a-z"é\\]{1,40}`).Draw(t, "topic")),
			Position: pubsub.Position{Epoch: "E", Offset: rapid.Uint64().Draw(t, "offset")},
			Time:     time.UnixMilli(rapid.Int64Range(0, 1<<41).Draw(t, "time")),
		}
		text := rapid.OneOf(rapid.String(), rapid.StringOf(rapid.RuneFrom([]rune("a\x00\n\"\\é\u0085\u2028\u2029\ufffd😀\x7f</>")))).Draw(t, "text")
		if !utf8.ValidString(text) {
			t.Skip("a string is UTF-8")
		}
		m.Body.Data = []byte(text)
		if m.Body.JSON = rapid.Bool().Draw(t, "JSON"); m.Body.JSON {
			m.Body.Data = fmt.Appendf(nil, `[%d,"%s"]`, rapid.Int().Draw(t, "number"), rapid.StringOf(rapid.RuneFrom([]rune("aé\u0085\u2028\u2029😀"))).Draw(t, "string"))
		}
		want := string(wire.AppendMessage(nil, m))
		if got := wire.MessageSize(m); got != len(want) {
			t.Fatalf("MessageSize = %d, but the message has %d bytes: %s", got, len(want), want)
		}
		got, rest := wire.BeginMessage(nil, m)
		for !rest.Done() {
			room := rapid.IntRange(32, 100).Draw(t, "room")
			piece := rest.Append(nil, room)
			if n := len(piece); n == 0 || n > room {
				t.Fatalf("%d bytes in a room of %d", n, room)
			}
			got = append(got, piece...)
		}
		if string(got) != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	})
}

func TestMemberSize(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := func(name string) string {
			return rapid.StringOf(rapid.RuneFrom([]rune("a\x00\n\"\\é\u0085\u2028\u2029😀"))).Draw(t, name)
		}
		m := pubsub.Member{Sub: text("sub")}
		if rapid.Bool().Draw(t, "info") {
			m.Info = fmt.Appendf(nil, `{"n":"%s"}`, rapid.StringOf(rapid.RuneFrom([]rune("aé\u0085\u2028\u2029😀"))).Draw(t, "name"))
		}
		if got, want := wire.MemberSize(m), len(wire.AppendMember(nil, m)); got != want {
			t.Fatalf("MemberSize = %d, but the member has %d bytes", got, want)
		}
	})
	longest := pubsub.Member{Sub: strings.Repeat("\x01", 255), Info: []byte(`"` + strings.Repeat("\u0085", 511) + `"`)}
	if n := wire.MemberSize(longest); n > wire.MaxMemberBytes {
		t.Errorf("a member has %d bytes, more than %d", n, wire.MaxMemberBytes)
	}
}

func TestTheBeginningOfAMessageIsShort(t *testing.T) {
	m := &pubsub.Message{
		Topic:    pubsub.Topic(strings.Repeat(`"`, 255)),
		Position: pubsub.Position{Epoch: strings.Repeat("E", 64), Offset: 1<<64 - 1},
		Time:     time.UnixMilli(-1 << 62),
	}
	if begun, _ := wire.BeginMessage(nil, m); len(begun) > wire.MinRoom {
		t.Errorf("%d bytes before the data, more than %d", len(begun), wire.MinRoom)
	}
}
