package httpapi_test

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/ikornaselur/notiflux/internal/httpapi"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// An accepted body is within the limits, and encoding it again gives the same publications.
// A refusal blames the publisher, and does not quote the body.
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
		`[{"topic":"a"},1,{"topics":["a","b"],"message":{},"exclude":"00000000000000ff"}]`,
		`{"topic":"a","message":1} x`,
		"", "{", "null", "\xff",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var decoder httpapi.DecoderForTest
		elements, err := decoder.Decode(text, maxFuzzMessage)
		if err != nil {
			checkRefusal(t, text, err)
			return
		}
		for _, e := range elements {
			if e.Err != nil {
				checkRefusal(t, text, e.Err)
				continue
			}
			checkElement(t, e)
			again, err := decoder.Decode(encode(t, e), maxFuzzMessage)
			if err != nil || len(again) != 1 || !reflect.DeepEqual(again[0], e) {
				t.Errorf("published again as %s: %+v, %v; want %+v", encode(t, e), again, err, e)
			}
		}
	})
}

func checkElement(t *testing.T, e httpapi.ElementForTest) {
	t.Helper()
	if _, err := pubsub.ParseTopic(string(e.Topic)); err != nil {
		t.Errorf("accepted the topic %q: %v", e.Topic, err)
	}
	if len(e.Body.Data) > maxFuzzMessage || !utf8.Valid(e.Body.Data) {
		t.Errorf("accepted a message of %d bytes: %q", len(e.Body.Data), e.Body.Data)
	}
	if e.Body.JSON && !jsontext.Value(e.Body.Data).IsValid() {
		t.Errorf("accepted as JSON: %q", e.Body.Data)
	}
}

// encode returns a body with only this element.
func encode(t *testing.T, e httpapi.ElementForTest) []byte {
	t.Helper()
	message := string(e.Body.Data)
	if !e.Body.JSON {
		message = string(quote(t, message))
	}
	body := fmt.Appendf(nil, `{"topic":%s,"message":%s,"token":%s`, quote(t, string(e.Topic)), message, quote(t, string(e.Token)))
	if e.Key != "" {
		body = fmt.Appendf(body, `,"key":%s`, quote(t, e.Key))
	}
	if e.Exclude != 0 {
		body = fmt.Appendf(body, `,"exclude":"%v"`, e.Exclude)
	}
	return append(body, '}')
}

const maxFuzzMessage = 1000

func checkRefusal(t *testing.T, text []byte, err error) {
	t.Helper()
	refusal, ok := errors.AsType[*pubsub.Error](err)
	if !ok {
		t.Fatalf("refused with %v, want a pubsub.Error", err)
	}
	switch refusal.Code {
	case pubsub.Malformed, pubsub.TopicInvalid, pubsub.TooLarge:
	default:
		t.Errorf("refused with %s", refusal.Code)
	}
	if bytes.Contains(text, []byte("eyJ")) && strings.Contains(err.Error(), "eyJ") {
		t.Errorf("refused with a quote of the body: %v", err)
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
