package v1json

import (
	"bytes"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// vectorLimits are the limits that the vectors assume.
var vectorLimits = limits{MessageBytes: 1000, Topics: 100}

// Inputs that the vectors cannot contain, because the file is UTF-8.
func parse(text []byte) (command, *pubsub.Error) {
	return new(parser).parse(text, vectorLimits)
}

func TestCommandsThatAreNotUTF8(t *testing.T) {
	for _, s := range []string{"{\"type\":\"ping\",\"x\":\"\xff\"}", "{\"type\":\"ping\",\"\xff\":1}", "\xff", "{\"type\":\"subscribe\",\"topics\":[\"\xed\xa0\x80\"]}"} {
		if _, err := parse([]byte(s)); err == nil || err.Code != pubsub.Malformed {
			t.Errorf("parse(%q) = %v, want %s", s, err, pubsub.Malformed)
		}
	}
}

// An error names the member and what would be right.
func TestErrorsOfCommandsSayWhatIsRight(t *testing.T) {
	for text, want := range map[string]string{
		`{"type":"subscribe"}`:                                  "`topics` is missing",
		`{"type":"subscribe","topics":null}`:                    "`topics` is missing",
		`{"type":"unsubscribe","topics":null}`:                  "`topics` must be an array of strings",
		`{"type":"history","topic":null}`:                       "`topic` is missing",
		`{"type":"subscribe","topics":"a"}`:                     "`topics` must be an array of strings",
		`{"type":"subscribe","topics":[1]}`:                     "each of `topics` must be a string",
		`{"type":"subscribe","topics":["a"],"since":[]}`:        "`since` must be an object with a position for each topic or pattern",
		`{"type":"subscribe","topics":["a"],"since":{"a":1}}`:   "a position in `since` must be a string",
		`{"type":"subscribe","topics":["a"],"last":-1}`:         "`last` must be a whole number, 0 or more",
		`{"type":"subscribe","topics":["a"],"mode":"x"}`:        "`mode` must be all or latest",
		`{"type":"subscribe","topics":["a"],"presence":1}`:      "`presence` must be true or false",
		`{"type":"broadcast","topic":"a","message":1,"key":1}`:  "`key` must be a string",
		`{"type":"broadcast","topic":"a","message":1,"key":""}`: "the key is invalid: a key has 1 to 255 bytes of UTF-8 and no control characters",
		`{"type":"broadcast","exclude":""}`:                     "`exclude` is only for POST /broadcast: to exclude this connection, set `echo` to false",
		`{"type":"broadcast","echo":0}`:                         "`echo` must be true or false",
		`{"type":"history","topic":"a","limit":"1"}`:            "`limit` must be a whole number, 0 or more",
		`{"type":"auth"}`:                                       "`token` is missing",
		`{"type":"auth","token":1}`:                             "`token` must be a string",
		`{"type":"ping","id":-1}`:                               "`id` must be a whole number from 0 to 9007199254740991",
		`{"type":1}`:                                            "`type` must be a string",
		`{"type":"x"}`:                                          "the type must be one of subscribe, unsubscribe, broadcast, auth, history, presence, ping",
		``:                                                      "the command is empty: send one JSON object with `type`",
		`[]`:                                                    "the command is not an object: send one JSON object with `type`",
		`{"type":`:                                              "the command ends before its JSON is complete",
		`{"a":1,"a":2}`:                                         "an object has the same member twice, at byte 7",
		`{"type":"ping\`:                                        "the command ends before its JSON is complete",
		`{"type":"ping"} x`:                                     "unexpected data after the JSON, at byte 15",
	} {
		if _, err := parse([]byte(text)); err == nil || err.Detail != want {
			t.Errorf("parse(%s) = %v, want %q", text, err, want)
		}
	}
}

// A command with halves of surrogate pairs as names is refused with its ID.
func TestTwoHalvesOfCharacters(t *testing.T) {
	c, err := parse([]byte(`{"\ud800":1,"\ud801":1,"type":"ping","id":7}`))
	if err == nil || !strings.Contains(err.Detail, "half of a character") || c.ID != 7 {
		t.Errorf("ID %d, %v; want 7 and half a character", c.ID, err)
	}
}

func TestACommandOwnsItsMemory(t *testing.T) {
	text := []byte(`{"type":"broadcast","topic":"topic","message":[1.50e+2, 2],"token":"token"}`)
	c, err := parse(text)
	if err != nil {
		t.Fatal(err)
	}
	clear(text)
	if c.Topic != "topic" || string(c.Body.Data) != "[1.50e+2,2]" || cap(c.Body.Data) != 11 || c.Token != "token" {
		t.Errorf("%+v after its text was overwritten", c)
	}
}

func FuzzParse(f *testing.F) {
	for _, file := range commandFiles(f) {
		for _, v := range file.Valid {
			f.Add([]byte(v.Input))
		}
		for _, v := range file.Invalid {
			f.Add([]byte(v.Input))
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		before := bytes.Clone(text)
		c, err := parse(text)
		if !bytes.Equal(text, before) {
			t.Fatalf("%q was changed to %q", before, text)
		}
		if c.ID < noID || c.ID > 1<<53-1 {
			t.Errorf("parse(%q): id %d", text, c.ID)
		}
		if err != nil {
			checkRefusal(t, text, c, err)
			return
		}
		if !jsontext.Value(text).IsValid() {
			t.Errorf("parse(%q) = %+v, although it is not JSON", text, c)
		}
		if c.Verb == 0 {
			t.Errorf("parse(%q) = %+v", text, c)
		}
		if (c.Verb == verbSubscribe || c.Verb == verbUnsubscribe) != (len(c.Topics)+len(c.Refused) > 0) || len(c.Topics)+len(c.Refused) > vectorLimits.Topics {
			t.Errorf("parse(%q) has the topics %q and %v", text, c.Topics, c.Refused)
		}
		for _, topic := range c.Topics {
			_, err := pubsub.ParseTopic(string(topic))
			if c.Patterns {
				_, err = pubsub.ParsePattern(topic.Shown())
			}
			if err != nil || topic.IsPattern() != c.Patterns {
				t.Errorf("parse(%q): topic %q: %v", text, topic, err)
			}
		}
		if len(c.Body.Data) > vectorLimits.MessageBytes || c.Body.JSON && !jsontext.Value(c.Body.Data).IsValid() || (c.Body.Data != nil) != (c.Verb == verbBroadcast) {
			t.Errorf("parse(%q): body %q", text, c.Body.Data)
		}
		if c.Last < 0 || c.Last > 1000 || c.Limit < 0 || c.Limit > 1000 {
			t.Errorf("parse(%q): last %d, limit %d", text, c.Last, c.Limit)
		}
	})
}

func checkRefusal(t *testing.T, text []byte, c command, err *pubsub.Error) {
	t.Helper()
	if c.Verb != 0 || c.Topics != nil || c.Body.Data != nil || c.Token != "" || c.Since != nil {
		t.Errorf("parse(%q) = %+v beside %v", text, c, err)
	}
	switch err.Code {
	case pubsub.Malformed, pubsub.TopicInvalid, pubsub.TooLarge, pubsub.TooMany, pubsub.UnknownType:
	default:
		t.Errorf("parse(%q): %s", text, err.Code)
	}
	if bytes.Contains(text, []byte("eyJ")) && strings.Contains(err.Error(), "eyJ") {
		t.Errorf("refused with a quotation: %v", err)
	}
}

func BenchmarkParseJSON(b *testing.B) {
	for name, text := range map[string]string{
		"ping":      `{"type":"ping","id":7}`,
		"subscribe": `{"type":"subscribe","id":1,"topics":["a"],"token":"` + strings.Repeat("x", 300) + `","since":{"a":"0123456789abcdef:42"}}`,
		"broadcast": `{"type":"broadcast","id":3,"topic":"a","message":{"x":[1,2,3],"text":"` + strings.Repeat("x", 100) + `"}}`,
	} {
		b.Run(name, func(b *testing.B) {
			message := []byte(text)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := parse(message); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
