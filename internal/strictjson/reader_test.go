package strictjson_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/strictjson"
)

// read reads an object to its end, and returns its members in order.
func read(r *strictjson.Reader, text []byte) (names, values []string, err error) {
	r.Reset(text, "the text", "it should be an object")
	if err := r.BeginObject(); err != nil {
		return nil, nil, err
	}
	for r.MoreMembers() {
		name, value, err := r.Member()
		if err != nil {
			return nil, nil, err
		}
		names, values = append(names, string(name)), append(values, string(value))
	}
	return names, values, r.End()
}

func nested(levels int) string {
	return strings.Repeat(`{"a":[`, levels/2) + strings.Repeat(`]}`, levels/2)
}

func TestRefusals(t *testing.T) {
	for text, want := range map[string]string{
		"":                          "the text is empty: it should be an object",
		" ":                         "the text is empty: it should be an object",
		"[]":                        "the text is not an object: it should be an object",
		"null":                      "the text is not an object: it should be an object",
		"\ufeff{}":                  "the text is not valid JSON in UTF-8, at byte 0",
		"{\"a\":\"\xff\"}":          "the text is not valid JSON in UTF-8, at byte 6",
		"{\"a\":\"\xed\xa0\x80\"}":  "the text is not valid JSON in UTF-8, at byte 6",
		`{"a":01}`:                  "the text is not valid JSON in UTF-8, at byte 6",
		`{"a":1,}`:                  "the text is not valid JSON in UTF-8, at byte 6",
		`{"a"`:                      "the text ends before its JSON is complete",
		`{"a":[`:                    "the text ends before its JSON is complete",
		`{"a":1,"a":2}`:             "an object has the same member twice, at byte 7",
		`{"a":1,"\u0061":2}`:        "an object has the same member twice, at byte 7",
		`{"x":[{"a":1,"a":2}]}`:     "an object has the same member twice, at byte 13",
		`{"a":1}{}`:                 "unexpected data after the JSON, at byte 8",
		`{"a":1}x`:                  "unexpected data after the JSON, at byte 7",
		`{"a":"\ud83d"}`:            "the text has a lone surrogate (half of a character such as an emoji) at byte 6: if your program shortens strings, make it cut between whole characters",
		`{"a":{"\udc00":1}}`:        "the text has a lone surrogate (half of a character such as an emoji) at byte 7: if your program shortens strings, make it cut between whole characters",
		`{"a":1,"a":2,"\ud83d":[]}`: "the text has a lone surrogate (half of a character such as an emoji) at byte 14: if your program shortens strings, make it cut between whole characters",
		nested(66):                  "the JSON is nested too deeply; the limit is 64 levels",
	} {
		_, _, err := read(new(strictjson.Reader), []byte(text))
		e, ok := errors.AsType[*pubsub.Error](err)
		if !ok || e.Code != pubsub.Malformed || e.Detail != want {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	if _, _, err := read(new(strictjson.Reader), []byte(nested(64))); err != nil {
		t.Errorf("64 levels: %v", err)
	}
}

// An element with a lone surrogate can be skipped, and hides no duplicate name elsewhere.
func TestArrayWithLoneSurrogate(t *testing.T) {
	elements := func(text string) (good, lone int, err error) {
		var r strictjson.Reader
		r.Reset([]byte(text), "the text", "")
		if !r.IsArray() {
			t.Fatalf("%s is not an array", text)
		}
		if err := r.BeginArray(); err != nil {
			return 0, 0, err
		}
		for r.MoreElements() {
			if err := r.BeginObject(); err != nil {
				return good, lone, err
			}
			for r.MoreMembers() {
				switch _, _, err := r.Member(); {
				case errors.Is(err, strictjson.ErrLoneSurrogate):
					lone++
				case err != nil:
					return good, lone, err
				default:
					good++
				}
			}
			if err := r.EndObject(); err != nil {
				return good, lone, err
			}
		}
		return good, lone, r.End()
	}
	if good, lone, err := elements(`[{"a":1,"b":"\ud800"},{"\ud800":1,"\ud801":2},{"a":2}]`); good != 2 || lone != 3 || err != nil {
		t.Errorf("%d members, %d with a lone surrogate, %v; want 2 and 3", good, lone, err)
	}
	if _, _, err := elements(`[{"a":"\ud800"},{"a":1,"a":2}]`); err == nil || !strings.Contains(err.Error(), "an object has the same member twice, at byte 23") {
		t.Errorf("a duplicate name beside a lone surrogate: %v", err)
	}
}

func TestElementsAndMembers(t *testing.T) {
	var elements, members []string
	for value := range strictjson.Elements(jsontext.Value(`[1, [2] ,"x"]`)) {
		elements = append(elements, string(value))
	}
	for name, value := range strictjson.Members(jsontext.Value(`{"\u0061": {"x": 1}, "b":[], "b":null}`)) {
		members = append(members, name, string(value))
	}
	if got := strings.Join(elements, "|"); got != `1|[2]|"x"` {
		t.Errorf("Elements = %s", got)
	}
	if got := strings.Join(members, "|"); got != `a|{"x": 1}|b|[]|b|null` {
		t.Errorf("Members = %s", got)
	}
}

// The Reader accepts exactly what jsontext accepts, except for the depth limit. Reading the
// text again with Members gives the same result.
func FuzzReader(f *testing.F) {
	for _, seed := range []string{
		`{"a":1,"b":[{"c":"\n\u00e9\ud83d\ude00"}],"":null}`, `{"a":1,"a":2}`, `{"\ud800":1,"\ud801":2}`, `{"a":"\\ud800"}`, `{"a":"\ud800\ud800\udc00"}`,
		nested(64), nested(66), `{"a":"]}"}`, `{} {}`, "{\"\xff\":1}", "", `{"a":"\`, `{"a":"\u12`,
	} {
		f.Add([]byte(seed))
	}
	var r strictjson.Reader
	f.Fuzz(func(t *testing.T, text []byte) {
		names, values, err := read(&r, text)
		isObject := jsontext.Value(text).IsValid() && jsontext.Value(text).Kind() == '{'
		if err == nil != isObject && !(isObject && strings.Contains(err.Error(), "nested too deeply")) {
			t.Fatalf("%q: %v, but valid is %t", text, err, isObject)
		}
		if err != nil {
			return
		}
		i := 0
		for name, value := range strictjson.Members(text) {
			if i >= len(names) || name != names[i] || string(value) != values[i] || !utf8.ValidString(name) {
				t.Fatalf("%q: Members has %q: %s at %d, Reader has %q", text, name, value, i, names)
			}
			i++
		}
		if i != len(names) {
			t.Errorf("%q: Members has %d, Reader has %q", text, i, names)
		}
		for _, value := range values {
			compact, err := r.Compact(jsontext.Value(value))
			first := bytes.Clone(compact)
			if again, _ := r.Compact(first); err != nil || !bytes.Equal(again, first) || len(first) > len(value) || !utf8.Valid(first) {
				t.Errorf("Compact(%s) = %s, %v, then %s", value, first, err, again)
			}
		}
	})
}
