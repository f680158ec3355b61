package pubsub_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

func TestParseTopic(t *testing.T) {
	for _, s := range []string{
		"a", "a b", "*", ">", "a.b", "$JS.API.x", "_INBOX.x", "..", "a/b", "%2F", "?", "日本", "\u00a0", "\ufffd", strings.Repeat("x", 255),
	} {
		if got, err := pubsub.ParseTopic(s); err != nil || string(got) != s {
			t.Errorf("ParseTopic(%q) = %q, %v; want it unchanged", s, got, err)
		}
	}
	for _, s := range []string{
		"", strings.Repeat("x", 256), "a\x00", "a\nb", "\x1f", "\x7f", "\u0080", "\u009f", "\xff", "a\xc3", "\xed\xa0\x80",
	} {
		_, err := pubsub.ParseTopic(s)
		if got := pubsub.Refusal(err); err == nil || got.Code != pubsub.TopicInvalid {
			t.Errorf("ParseTopic(%q) = %v, want %s", s, err, pubsub.TopicInvalid)
		}
	}
}

func TestParsePosition(t *testing.T) {
	for _, want := range []pubsub.Position{{Epoch: "E", Offset: 0}, {Epoch: "aZ09", Offset: 42}, {Epoch: "x", Offset: 1<<64 - 1}} {
		if got, err := pubsub.ParsePosition(want.String()); err != nil || got != want {
			t.Errorf("ParsePosition(%q) = %v, %v; want %v", want, got, err, want)
		}
	}
	for _, s := range []string{
		"", ":", "E", "E:", ":1", "E:01", "E:+1", "E:-1", "E: 1", "E:1 ", "E:18446744073709551616", "E:1:2", "E:0x1", "É:1", "E E:1",
		strings.Repeat("e", 65) + ":1",
	} {
		if got, err := pubsub.ParsePosition(s); err == nil || pubsub.Refusal(err).Code != pubsub.Malformed {
			t.Errorf("ParsePosition(%q) = %v, %v; want %s", s, got, err, pubsub.Malformed)
		}
	}
}

func TestRefusalRevealsNothingElse(t *testing.T) {
	inner := pubsub.Errorf(pubsub.TopicDenied, "not this topic")
	wrapped := fmt.Errorf("broadcast to %q: %w", "t", inner)
	if got := pubsub.Refusal(wrapped); got != inner {
		t.Errorf("Refusal(%v) = %v, want the refusal inside", wrapped, got)
	}
	secret := errors.New("disk /dev/secret is full")
	got := pubsub.Refusal(secret)
	if got.Code != pubsub.Internal || strings.Contains(got.Detail, "secret") || !errors.Is(got, secret) {
		t.Errorf("Refusal(%v) = %q with %q; want a plain %s that wraps it", secret, got.Code, got.Detail, pubsub.Internal)
	}
}

func FuzzParsePosition(f *testing.F) {
	f.Add("E:1")
	f.Add("E:01")
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := pubsub.ParsePosition(s); err == nil && p.String() != s {
			t.Errorf("ParsePosition(%q).String() = %q", s, p)
		}
	})
}

func FuzzParseTopic(f *testing.F) {
	f.Add("news")
	f.Add("a\x7f")
	f.Fuzz(func(t *testing.T, s string) {
		topic, err := pubsub.ParseTopic(s)
		if err == nil && (string(topic) != s || !utf8.ValidString(s) || s == "" || len(s) > pubsub.MaxTopicBytes) {
			t.Errorf("ParseTopic(%q) = %q", s, topic)
		}
	})
}
