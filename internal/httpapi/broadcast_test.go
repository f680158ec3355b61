package httpapi_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/httpapi"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

func TestBroadcast(t *testing.T) {
	s := newService(t, httpapi.Config{})
	bearer := "Bearer " + token(t, s.signer, auth.Broadcast, "news")
	for i := range 2 {
		r := s.do(t, "POST", "/broadcast", `{"topic":"news","message":"hello"}`, "Authorization", bearer)
		r.want(t, 200, "")
		if want := fmt.Sprintf(`{"topic":"news","position":"E:%d"}`+"\n", i+1); r.body != want {
			t.Errorf("answer = %q, want %q", r.body, want)
		}
		if got := r.header.Get("Content-Type"); got != "application/json" {
			t.Errorf("Content-Type = %q", got)
		}
		if got := r.header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("Cache-Control = %q", got)
		}
	}
}

// How a published value reaches subscribers.
func TestMessageValues(t *testing.T) {
	for value, want := range map[string]pubsub.Body{
		`"hello"`:                           {Data: []byte("hello")},
		`""`:                                {Data: []byte("")},
		`"\"quoted\" \\ \/ \n\u00e9\u20ac"`: {Data: []byte("\"quoted\" \\ / \né€")},
		`"\ud83d\ude00 😀"`:                  {Data: []byte("😀 😀")},
		`"null"`:                            {Data: []byte("null")},
		`"/subscribe a b"`:                  {Data: []byte("/subscribe a b")},
		`null`:                              {Data: []byte("null"), JSON: true},
		`true`:                              {Data: []byte("true"), JSON: true},
		`false`:                             {Data: []byte("false"), JSON: true},
		`0`:                                 {Data: []byte("0"), JSON: true},
		`-1.50e+300`:                        {Data: []byte("-1.50e+300"), JSON: true},
		`12345678901234567890123`:           {Data: []byte("12345678901234567890123"), JSON: true},
		` { "b" : [ 1 , { } , "a b" ] } `:   {Data: []byte(`{"b":[1,{},"a b"]}`), JSON: true},
		`["\u00e9\/\n"]`:                    {Data: []byte(`["é/\n"]`), JSON: true}, // only the escapes that JSON needs
		`[]`:                                {Data: []byte("[]"), JSON: true},
		`{"z":1,"a":"<&>` + "\u2028" + `"}`: {Data: []byte(`{"z":1,"a":"<&>` + "\u2028" + `"}`), JSON: true},
		nested(63):                          {Data: []byte(nested(63)), JSON: true},
	} {
		s := newService(t, httpapi.Config{})
		bearer := "Bearer " + token(t, s.signer, auth.Broadcast, "a")
		s.do(t, "POST", "/broadcast", `{"topic":"a","message":`+value+`}`, "Authorization", bearer).want(t, 200, "")
		published := s.publisher.all()
		if len(published) != 1 || string(published[0].Body.Data) != string(want.Data) || published[0].Body.JSON != want.JSON {
			t.Errorf("message %s: published %v, want %q, JSON %v", value, published, want.Data, want.JSON)
		}
	}
}

// nested returns n nested arrays.
func nested(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

func TestBadBodies(t *testing.T) {
	checkBadBodies(t, []badBody{
		{``, 400, pubsub.Malformed, "empty"},
		{"  \n", 400, pubsub.Malformed, "empty"},
		{`{`, 400, pubsub.Malformed, "ends before"},
		{`{"topic":"a"`, 400, pubsub.Malformed, "ends before"},
		{`{"topic":"a","message":"x`, 400, pubsub.Malformed, "ends before"},
		{`topic=a&message=b`, 400, pubsub.Malformed, "byte"},
		{"\ufeff", 400, pubsub.Malformed, "empty"},
		{"\ufeff\ufeff{" + ok + `}`, 400, pubsub.Malformed, "byte 0"},
		{" \ufeff{" + ok + `}`, 400, pubsub.Malformed, "byte"},
		{"\xff\xfe{\x00}\x00", 400, pubsub.Malformed, "UTF-8"},
		{`{"topic":"a" "message":1}`, 400, pubsub.Malformed, "byte 13"},
		{`{"topic":"a","message":01}`, 400, pubsub.Malformed, "byte"},
		{`{"topic":"a","message":NaN}`, 400, pubsub.Malformed, "byte"},
		{`{'topic':'a'}`, 400, pubsub.Malformed, "byte 1"},
		{`{` + ok + `,}`, 400, pubsub.Malformed, "byte"},
		{`{topic:"a"}`, 400, pubsub.Malformed, "byte 2"},
		{`{1:"a"}`, 400, pubsub.Malformed, "byte 1"},
		{`{` + ok + `} {}`, 400, pubsub.Malformed, "unexpected data after"},
		{`{` + ok + `}x`, 400, pubsub.Malformed, "unexpected data after"},
		{`{` + ok + `}]`, 400, pubsub.Malformed, "unexpected data after"},

		{`"a"`, 400, pubsub.Malformed, "not an object"},
		{`null`, 400, pubsub.Malformed, "not an object"},
		{`17`, 400, pubsub.Malformed, "not an object"},

		{`{}`, 400, pubsub.Malformed, "`topic` is missing"},
		{`{"message":1}`, 400, pubsub.Malformed, "`topic` is missing"},
		{`{"Topic":"a","message":1}`, 400, pubsub.Malformed, "`topic` is missing"},
		{`{"topic":"a"}`, 400, pubsub.Malformed, "`message` is missing"},
		{`{"topic":"a","MESSAGE":1}`, 400, pubsub.Malformed, "`message` is missing"},
		{`{"topic":1,"message":1}`, 400, pubsub.Malformed, "`topic` must be a string"},
		{`{"topic":null,"message":1}`, 400, pubsub.Malformed, "`topic` is missing"},
		{`{"topics":null,"message":1}`, 400, pubsub.Malformed, "`topic` is missing"},
		{`{"topic":null,"topics":null,"message":1}`, 400, pubsub.Malformed, "`topic` is missing"},
		{`{"topic":null,"topics":[],"message":1}`, 400, pubsub.Malformed, "`topics` is empty"},
		{`{"topic":["a"],"message":1}`, 400, pubsub.Malformed, "`topic` must be a string"},
		{`{` + ok + `,"token":{"a":1}}`, 400, pubsub.Malformed, "`token` must be a string"},

		{`{` + ok + `,"topic":"b"}`, 400, pubsub.Malformed, "twice"},
		{`{` + ok + `,"\u0074opic":"b"}`, 400, pubsub.Malformed, "twice"},
		{`{` + ok + `,"other":1,"other":2}`, 400, pubsub.Malformed, "twice"},
		{`{"topic":"a","message":{"x":[{"y":1,"y":2}]}}`, 400, pubsub.Malformed, "twice"},
		{`{` + ok + `,"other":{"x":1,"x":1}}`, 400, pubsub.Malformed, "twice"},

		{`{"topic":"a","message":"` + "\xff" + `"}`, 400, pubsub.Malformed, "UTF-8"},
		{`{"topic":"` + "\xc3" + `","message":1}`, 400, pubsub.Malformed, "UTF-8"},
		{`{"topic":"a","message":["` + "\xed\xa0\x80" + `"]}`, 400, pubsub.Malformed, "UTF-8"},
		{`{"topic":"a","message":"\ud800"}`, 400, pubsub.Malformed, "a lone surrogate (half of a character such as an emoji) at byte 24: "},
		{`[{"topic":"a","message":"\ud83d"},{]`, 400, pubsub.Malformed, "byte"},
		{`{"topic":"a","message":"\ud83d"} x`, 400, pubsub.Malformed, "unexpected data after"},
		{`{"topic":"a","message":["\\\\\ude00"]}`, 400, pubsub.Malformed, "half of a character"},
		{`{"topic":"a","message":"\ud83d\ud83d\ude00"}`, 400, pubsub.Malformed, "half of a character"},
		{`{"topic":"a","message":"\ud83d\n"}`, 400, pubsub.Malformed, "half of a character"},
		{`{"topic":"a","message":"\udc00\ud800"}`, 400, pubsub.Malformed, "lone surrogate"},
		{`{"topic":"a","message":{"x":"\ud83d"}}`, 400, pubsub.Malformed, "lone surrogate"},
		{`{"topic":"\ud800","message":1}`, 400, pubsub.Malformed, "lone surrogate"},
		{`{` + ok + `,"\ud800":1}`, 400, pubsub.Malformed, "lone surrogate"},
		{`\`, 400, pubsub.Malformed, "is not valid JSON"},
		{`[{` + ok + `},"\ud800\`, 400, pubsub.Malformed, "ends before"},
		{`{` + ok + `,"\ud800":1,"\ud801":1}`, 400, pubsub.Malformed, "half of a character"},
		{`[{` + ok + `,"\ud800":1},{` + ok + `,"x":{"b":1,"b":1}}]`, 400, pubsub.Malformed, "same member twice, at byte 74"},
		{`[{` + ok + `,"\ud800":1},{` + ok + `,"key":"a","key":"b"}]`, 400, pubsub.Malformed, "twice"},
		{`[{` + ok + `,"\ud800":1},{` + ok + `,"x":` + nested(64) + `}]`, 400, pubsub.Malformed, "nested too deeply"},
		{`{"topic":"a","message":"` + "\x00" + `"}`, 400, pubsub.Malformed, "byte"},
		{`{"topic":"a","message":"` + "\n" + `"}`, 400, pubsub.Malformed, "byte"},

		{`{"topic":"a","message":` + nested(64) + `}`, 400, pubsub.Malformed, "64"},
		{`{` + ok + `,"other":` + nested(64) + `}`, 400, pubsub.Malformed, "64"},
		{`{"topic":` + nested(100_000) + `}`, 400, pubsub.Malformed, "64"},
		{`{"topic":"a","message":` + strings.Repeat(`{"]\"":`, 64) + `1` + strings.Repeat(`}`, 64) + `}`, 400, pubsub.Malformed, "64"},
		{`{"topic":"a","message":` + strings.Repeat("[", 500_000), 400, pubsub.Malformed, "64"},

		{`{"topic":"","message":1}`, 400, pubsub.TopicInvalid, "empty"},
		{`{"topic":"` + strings.Repeat("a", 256) + `","message":1}`, 400, pubsub.TopicInvalid, "255"},
		{`{"topic":"a\u0000","message":1}`, 400, pubsub.TopicInvalid, "control"},
		{`{"topic":"a\nb","message":1}`, 400, pubsub.TopicInvalid, "control"},
		{`{"topic":"a\u0085","message":1}`, 400, pubsub.TopicInvalid, "control"},

		{`{"topic":"a","message":"` + strings.Repeat("a", 64<<10+1) + `"}`, 413, pubsub.TooLarge, "65536"},
		{`{"topic":"a","message":["` + strings.Repeat("a", 64<<10-3) + `"]}`, 413, pubsub.TooLarge, "65536"},
		{`{"topic":"a","message":"` + strings.Repeat("a", 1<<20) + `"}`, 413, pubsub.TooLarge, "1048576"},
	})
}

// Errors in an array as a whole, and in members that a single object seldom has.
func TestBadArraysAndMembers(t *testing.T) {
	checkBadBodies(t, []badBody{
		{`[{` + ok + `}`, 400, pubsub.Malformed, "ends before"},
		{`[{` + ok + `}]]`, 400, pubsub.Malformed, "unexpected data after"},
		{`[{` + ok + `},]`, 400, pubsub.Malformed, "byte"},
		{`[{` + ok + `,"other":1,"other":2}]`, 400, pubsub.Malformed, "twice"},
		{`[{` + ok + `,"other":` + nested(63) + `}]`, 400, pubsub.Malformed, "64"},
		{nested(65), 400, pubsub.Malformed, "64"},
		{strings.Repeat("[", 500_000), 400, pubsub.Malformed, "64"},
		{`[` + strings.Repeat(`1,`, 1000) + `1]`, 413, pubsub.TooLarge, "1000 messages"},
		{`{"topics":["a"` + strings.Repeat(`,"a"`, 1000) + `],"message":1}`, 413, pubsub.TooLarge, "1000 topics"},
		{`{` + ok + `,"topics":["a"]}`, 400, pubsub.Malformed, "`topic` and `topics`"},
		{`{"topics":[],"message":1}`, 400, pubsub.Malformed, "`topics` is empty"},
		{`{"topics":"a","message":1}`, 400, pubsub.Malformed, "`topics` must be an array"},
		{`{"topics":["a",1],"message":1}`, 400, pubsub.Malformed, "each of `topics`"},
		{`{"topics":["a"]}`, 400, pubsub.Malformed, "`message` is missing"},
		{`{` + ok + `,"key":1}`, 400, pubsub.Malformed, "`key` must be a string"},
		{`{` + ok + `,"key":""}`, 400, pubsub.Malformed, "a key has 1 to 255"},
		{`{` + ok + `,"\u006bey":"\n"}`, 400, pubsub.Malformed, "a key has 1 to 255"},
		{`{` + ok + `,"exclude":1}`, 400, pubsub.Malformed, "`exclude` must be a string"},
		{`{` + ok + `,"exclude":"0000000000000000"}`, 400, pubsub.Malformed, "16 hexadecimal digits"},
		{`{` + ok + `,"exclude":"00000000000000FF"}`, 400, pubsub.Malformed, "16 hexadecimal digits"},
	})
}

const ok = `"topic":"a","message":1`

type badBody struct {
	body   string
	status int
	code   pubsub.Code
	detail string
}

// checkBadBodies checks that each body is refused before the server looks for a token.
func checkBadBodies(t *testing.T, bodies []badBody) {
	t.Helper()
	for _, c := range bodies {
		s := newService(t, httpapi.Config{})
		name := c.body[:min(len(c.body), 60)]
		t.Run(name, func(t *testing.T) {
			for _, headers := range [][]string{nil, {"Authorization", "Bearer nonsense"}} {
				r := s.do(t, "POST", "/broadcast", c.body, headers...)
				r.want(t, c.status, c.code)
				r.wantDetail(t, c.detail)
			}
			if n := len(s.publisher.all()); n != 0 {
				t.Errorf("%d messages published", n)
			}
		})
	}
}

// Bodies that are unusual but valid.
func TestGoodBodies(t *testing.T) {
	long := strings.Repeat("é", 127) + "a"
	for _, c := range []struct{ topic, body string }{
		{"a", "\r\n\t {\"topic\" : \"a\" , \"message\" : 1 } \n"},
		{"a", `{"message":1,"unknown":{"nested":[null]},"topic":"a"}`},
		{"a", `{"topic":"a","message":1,"Topic":"b","TOKEN":7}`},
		{"a", `{"\u0074opic":"\u0061","message":1}`},
		{"a", `{"topic":"a","message":1,"token":""}`},
		{"a", `{"topic":"a","message":null,"token":null,"key":null,"exclude":null}`},
		{"a", `{"topic":"a","topics":null,"message":1}`},
		{"a", `{"topic":null,"topics":["a"],"message":1}`},
		{"a", "\ufeff{\"topic\":\"a\",\"message\":1}"},
		{"a", "\ufeff [{\"topic\":\"a\",\"message\":1}]"},
		{"a", `{"topic":"a","message":"\\ud83d \\\ud83d\ude00"}`},
		{"a", `{"topic":"a","message":1,"key\u0000":""}`},
		{"..", `{"topic":"..","message":1}`},
		{"a/b", `{"topic":"a/b","message":1}`},
		{"%2F", `{"topic":"%2F","message":1}`},
		{"?", `{"topic":"?","message":1}`},
		{"*", `{"topic":"*","message":1}`},
		{"$JS.API.x", `{"topic":"$JS.API.x","message":1}`},
		{`"\`, `{"topic":"\"\\","message":1}`},
		{long, `{"topic":"` + long + `","message":1}`},
		{"a", `{"topic":"a","message":"` + strings.Repeat("a", 64<<10) + `"}`},
		{"a", `{"topic":"a","message":"` + strings.Repeat(`\u0061`, 64<<10) + `"}`},
		{"a", `{"topic":"a","message":[` + strings.Repeat(" ", 100<<10) + `]}`},
		{"a", `{"topic":"a","message":"` + strings.Repeat("[", 100) + `"}`},
	} {
		s := newService(t, httpapi.Config{})
		bearer := "Bearer " + token(t, s.signer, auth.Broadcast, pubsub.Topic(c.topic))
		s.do(t, "POST", "/broadcast", c.body, "Authorization", bearer).want(t, 200, "")
		if p := s.publisher.all(); len(p) != 1 || string(p[0].Topic) != c.topic {
			t.Errorf("%.60s: published %v, want one message to %q", c.body, p, c.topic)
		}
	}
}

func TestMediaTypes(t *testing.T) {
	s := newService(t, httpapi.Config{})
	bearer := "Bearer " + token(t, s.signer, auth.Broadcast, "a")
	for _, c := range []struct {
		headers []string
		ok      bool
	}{
		{nil, true},
		{[]string{"Content-Type", ""}, true},
		{[]string{"Content-Type", "application/json"}, true},
		{[]string{"Content-Type", "Application/JSON; Charset=UTF-8"}, true},
		{[]string{"Content-Type", `application/json;charset="utf-8"`}, true},
		{[]string{"Content-Type", "application/json; charset=utf8"}, true},
		{[]string{"Content-Type", `application/json; charset="UTF8"`}, true},
		{[]string{"Content-Type", "application/json; charset=utf-16"}, false},
		{[]string{"Content-Type", "application/cloudevents+json"}, true},
		{[]string{"Content-Type", "application/x-www-form-urlencoded"}, true},
		{[]string{"Content-Encoding", "identity"}, true},
		{[]string{"Content-Type", "text/plain"}, false},
		{[]string{"Content-Type", "text/json"}, false},
		{[]string{"Content-Type", "application/jsonp"}, false},
		{[]string{"Content-Type", "application/json; charset=latin1"}, false},
		{[]string{"Content-Type", "application/json, text/plain"}, false},
		{[]string{"Content-Type", "application/json", "Content-Type", "application/json"}, false},
		{[]string{"Content-Type", "multipart/form-data; boundary=x"}, false},
		{[]string{"Content-Type", "json"}, false},
		{[]string{"Content-Type", ";"}, false},
		{[]string{"Content-Encoding", "gzip"}, false},
		{[]string{"Content-Encoding", "identity, br"}, false},
		{[]string{"Content-Encoding", "identity", "Content-Encoding", "zstd"}, false},
	} {
		r := s.do(t, "POST", "/broadcast", `{"topic":"a","message":1}`, append(c.headers, "Authorization", bearer)...)
		if c.ok {
			r.want(t, 200, "")
		} else {
			r.want(t, 415, pubsub.UnsupportedMediaType)
		}
		if t.Failed() {
			t.Fatalf("headers %q", c.headers)
		}
	}
	s.do(t, "POST", "/broadcast", `nonsense`, "Content-Type", "text/plain").want(t, 415, pubsub.UnsupportedMediaType)
}

func TestTokens(t *testing.T) {
	s := newService(t, httpapi.Config{})
	foreignIssuer, _ := newIssuer(t)
	good := token(t, s.signer, auth.Broadcast, "a")
	foreign := token(t, foreignIssuer, auth.Broadcast, "a")
	for _, c := range []struct {
		name    string
		inBody  string // the member `token`; "-": absent
		headers []string
		status  int
		code    pubsub.Code
	}{
		{"none", "-", nil, 401, pubsub.TokenMissing},
		{"empty in the body", "", nil, 401, pubsub.TokenMissing},
		{"header", "-", []string{"Authorization", "Bearer " + good}, 200, ""},
		{"scheme in another case", "-", []string{"Authorization", "bEARER   " + good}, 200, ""},
		{"body", good, nil, 200, ""},
		{"body before header", good, []string{"Authorization", "Bearer " + foreign}, 200, ""},
		{"bad body is not saved by the header", foreign, []string{"Authorization", "Bearer " + good}, 401, pubsub.TokenInvalid},
		{"empty body leaves it to the header", "", []string{"Authorization", "Bearer " + good}, 200, ""},
		{"another key", "-", []string{"Authorization", "Bearer " + foreign}, 401, pubsub.TokenInvalid},
		{"Basic, and a token in the body", good, []string{"Authorization", "Basic dTpw"}, 200, ""},
		{"Basic", "-", []string{"Authorization", "Basic dTpw"}, 401, pubsub.TokenInvalid},
		{"no scheme", "-", []string{"Authorization", good}, 401, pubsub.TokenInvalid},
		{"no token", "-", []string{"Authorization", "Bearer"}, 401, pubsub.TokenInvalid},
		{"empty header", "-", []string{"Authorization", ""}, 401, pubsub.TokenMissing},
		{"empty header, and a token in the body", good, []string{"Authorization", ""}, 200, ""},
		{"no token, and one in the body", good, []string{"Authorization", "Bearer"}, 200, ""},
		{"two tokens", "-", []string{"Authorization", "Bearer " + good + " " + good}, 401, pubsub.TokenInvalid},
		{"two headers", "-", []string{"Authorization", "Bearer " + good, "Authorization", "Bearer " + good}, 401, pubsub.TokenInvalid},
		{"another topic", token(t, s.signer, auth.Broadcast, "b"), nil, 403, pubsub.TopicDenied},
		{"another case", token(t, s.signer, auth.Broadcast, "A"), nil, 403, pubsub.TopicDenied},
		{"another scope", token(t, s.signer, auth.Subscribe, "a"), nil, 403, pubsub.ScopeDenied},
	} {
		t.Run(c.name, func(t *testing.T) {
			body := `{"topic":"a","message":1}`
			if c.inBody != "-" {
				body = `{"topic":"a","message":1,"token":"` + c.inBody + `"}`
			}
			before := len(s.publisher.all())
			r := s.do(t, "POST", "/broadcast", body, c.headers...)
			r.want(t, c.status, c.code)
			if challenge := r.header.Get("WWW-Authenticate"); strings.HasPrefix(challenge, "Bearer error=") != (c.status == 401) {
				t.Errorf("WWW-Authenticate = %q", challenge)
			}
			if strings.Contains(r.body, "eyJ") {
				t.Errorf("a token is in the answer: %s", r.body)
			}
			if published := len(s.publisher.all()) - before; published == 1 != (c.status == 200) {
				t.Errorf("%d messages published", published)
			}
		})
	}
}

// A token in the wrong place does not appear in the answer or, as newService checks, in the
// log.
func TestTokensInWrongPlaces(t *testing.T) {
	s := newService(t, httpapi.Config{})
	secret := token(t, s.signer, auth.Broadcast, "a")
	for _, body := range []string{
		`{"` + secret + `":{"a":1,"a":2}}`,
		`{"topic":"a","message":1,"token":"` + secret + `","token":"` + secret + `"}`,
		`{"token":"` + secret + `" "topic":1}`,
		secret,
	} {
		r := s.do(t, "POST", "/broadcast", body)
		r.want(t, 400, pubsub.Malformed)
		if strings.Contains(r.body, "eyJ") {
			t.Errorf("a token is in the answer: %s", r.body)
		}
	}
	s.do(t, "GET", "/"+secret+"?token="+secret, "").want(t, 404, pubsub.NotFound)
	s.do(t, "GET", "/broadcast?token="+secret, "").want(t, 405, pubsub.MethodNotAllowed)
}

func TestPublisherFails(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		code   pubsub.Code
		level  string
	}{
		{pubsub.Errorf(pubsub.Draining, "shutting down"), 503, pubsub.Draining, "DEBUG"},
		{pubsub.Errorf(pubsub.OverCapacity, "too many topics"), 503, pubsub.OverCapacity, "DEBUG"},
		{pubsub.Errorf(pubsub.OutcomeUnknown, "the same key is under way"), 503, pubsub.OutcomeUnknown, "DEBUG"},
		{&pubsub.Error{Code: pubsub.Unavailable, Detail: "the broker is away", Err: errors.New("dial secret.example.com")}, 503, pubsub.Unavailable, "WARN"},
		{errors.New("dial secret.example.com"), 500, pubsub.Internal, "ERROR"},
	} {
		s := newService(t, httpapi.Config{Broker: &publisher{err: c.err}})
		bearer := "Bearer " + token(t, s.signer, auth.Broadcast, "a")
		r := s.do(t, "POST", "/broadcast", `{"topic":"a","message":1}`, "Authorization", bearer)
		r.want(t, c.status, c.code)
		if (r.header.Get("Retry-After") != "") != (c.status == 503) {
			t.Errorf("%s: Retry-After = %q", c.code, r.header.Get("Retry-After"))
		}
		if strings.Contains(r.body, "secret") {
			t.Errorf("the client got %s", r.body)
		}
		log := s.log.String()
		for _, want := range []string{"level=" + c.level, "code=" + string(c.code), "topic=a", "subject=test", "remote=127.0.0.1:", c.err.Error()} {
			if !strings.Contains(log, want) || strings.Count(log, "code=") != 1 {
				t.Errorf("log = %s, want one refusal with %s", log, want)
			}
		}
	}
}

func TestStats(t *testing.T) {
	failing := errors.New("broken")
	s := newService(t, httpapi.Config{})
	bearer := "Bearer " + token(t, s.signer, auth.Broadcast, "a")
	s.do(t, "POST", "/broadcast", `{"topic":"a","message":1}`, "Authorization", bearer)
	s.do(t, "POST", "/broadcast", `{"topic":"a","message":1}`)
	s.do(t, "POST", "/broadcast", `{"topic":"a"}`)
	s.publisher.err = failing
	s.do(t, "POST", "/broadcast", `{"topic":"a","message":1}`, "Authorization", bearer)
	if got, want := s.api.Stats(), (httpapi.Stats{Accepted: 1, Refused: 2, Failed: 1}); got != want {
		t.Errorf("Stats() = %+v, want %+v", got, want)
	}
}

// A published message does not change, whatever is published later.
func TestMessagesOwnTheirData(t *testing.T) {
	s := newService(t, httpapi.Config{})
	bearer := "Bearer " + token(t, s.signer, auth.Broadcast, "a")
	var want []string
	for i := range 50 {
		text := strings.Repeat(string(rune('a'+i%26)), 100)
		want = append(want, text)
		s.do(t, "POST", "/broadcast", `{"topic":"a","message":"`+text+`"}`, "Authorization", bearer).want(t, 200, "")
	}
	var got []string
	for _, p := range s.publisher.all() {
		got = append(got, string(p.Body.Data))
	}
	if !slices.Equal(got, want) {
		t.Errorf("published = %q, want %q", got, want)
	}
}

func TestLimitsAreSettings(t *testing.T) {
	s := newService(t, httpapi.Config{MaxMessageBytes: 10, MaxBodyBytes: 100})
	bearer := "Bearer " + token(t, s.signer, auth.Broadcast, "a")
	for text, status := range map[string]int{
		strings.Repeat("a", 10):  http.StatusOK,
		strings.Repeat("a", 11):  http.StatusRequestEntityTooLarge,
		strings.Repeat("a", 100): http.StatusRequestEntityTooLarge,
		strings.Repeat("é", 6):   http.StatusRequestEntityTooLarge,
	} {
		if r := s.do(t, "POST", "/broadcast", `{"topic":"a","message":"`+text+`"}`, "Authorization", bearer); r.status != status {
			t.Errorf("message %q: %d, want %d", text, r.status, status)
		}
	}
}
