package api_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/api"
)

// What is accepted is within the limits, and published again it is the same.
// What is refused is the publisher's fault, and the answer does not quote it.
func FuzzBroadcastBody(f *testing.F) {
	for _, seed := range []string{
		`{"topic":"a","message":"hello","token":"t"}`,
		`{"topic":"a","message":{"x":[1,2.5e3,null,true,{}]},"other":[[]]}`,
		`{"message":"\ud83d\ude00\u0000\n","topic":"\u00e9/..%2F"}`,
		`{"topic":"a","message":` + nested(63) + `}`,
		`{"topic":"a","message":` + nested(64) + `}`,
		`{"topic":"a","message":"` + strings.Repeat("x", maxFuzzMessage+1) + `"}`,
		`{"topic":"a","topic":"b"}`,
		`{"topic":"a","message":"\ud800"}`,
		`{"topic":"a","key":"k"}`,
		`[{"topic":"a"}]`,
		`{"topic":"a","message":1} x`,
		"", "{", "null", "\xff",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var decoder api.DecoderForTest
		topic, body, token, err := decoder.Decode(text, maxFuzzMessage)
		if err != nil {
			checkRefusal(t, text, err)
			return
		}
		if _, err := notiflux.ParseTopic(string(topic)); err != nil {
			t.Errorf("accepted the topic %q: %v", topic, err)
		}
		if len(body.Data) > maxFuzzMessage || !utf8.Valid(body.Data) {
			t.Errorf("accepted a message of %d bytes: %q", len(body.Data), body.Data)
		}
		if body.JSON && !jsontext.Value(body.Data).IsValid() {
			t.Errorf("accepted as JSON: %q", body.Data)
		}

		again := append([]byte(`{"topic":`), quote(t, string(topic))...)
		again = append(again, `,"message":`...)
		if body.JSON {
			again = append(again, body.Data...)
		} else {
			again = append(again, quote(t, string(body.Data))...)
		}
		again = append(append(append(again, `,"token":`...), quote(t, string(token))...), '}')
		topic2, body2, token2, err := decoder.Decode(again, maxFuzzMessage)
		if err != nil || topic2 != topic || token2 != token || body2.JSON != body.JSON || !bytes.Equal(body2.Data, body.Data) {
			t.Errorf("published again as %s: %q %q %v, want %q %q", again, topic2, body2.Data, err, topic, body.Data)
		}
	})
}

const maxFuzzMessage = 1000

func checkRefusal(t *testing.T, text []byte, err error) {
	t.Helper()
	refusal, ok := errors.AsType[*notiflux.Error](err)
	if !ok {
		t.Fatalf("refused with %v, want a notiflux.Error", err)
	}
	switch refusal.Code {
	case notiflux.Malformed, notiflux.TopicInvalid, notiflux.TooLarge:
	default:
		t.Errorf("refused with %s", refusal.Code)
	}
	if bytes.Contains(text, []byte("eyJ")) && strings.Contains(err.Error(), "eyJ") {
		t.Errorf("refused with a quotation: %v", err)
	}
}

func quote(t *testing.T, s string) []byte {
	t.Helper()
	quoted, err := jsontext.AppendQuote(nil, s)
	if err != nil {
		t.Fatalf("quote %q: %v", s, err)
	}
	return quoted
}
