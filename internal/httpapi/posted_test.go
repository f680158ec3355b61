package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/httpapi"
	"github.com/ikornaselur/notiflux/internal/internaltest/vectors"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/reading"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// send answers a POST without a socket; headers are pairs of name and value.
func (r *reader) send(t testing.TB, path, body string, headers ...string) *response {
	t.Helper()
	return r.serveBody(t, t.Context(), "POST", path, body, headers...)
}

func TestPostedPoll(t *testing.T) {
	r := newReader(t, 5, httpapi.Config{})
	for i := range 8 { // as in TestPoll
		r.publish(t, "a", fmt.Sprint("a", 2*i+1))
		r.publish(t, "b", fmt.Sprint("b", 2*i+2))
	}
	cursor := cursorOf(map[pubsub.Topic]uint64{"a": 11, "b": 12})
	for _, c := range []struct{ body, lastID, texts, topics string }{
		{`{"topics":["a"]}`, "", "", `{"a":{"position":"E:15","recovered":true,"replay":0}}`},
		{`{"topics":["a","a"],"last":2,"since":null,"mode":"all","presence":false,"x":[1]}`, "", "a13 a15", `{"a":{"position":"E:11","recovered":true,"replay":2}}`},
		{`{"topics":["b","a"],"since":{"a":"E:13","b":"E:14","c":"E:7"}}`, "", "b16 a15", `{"b":{"position":"E:14","recovered":true,"replay":1},"a":{"position":"E:13","recovered":true,"replay":1}}`},
		{`{"topics":["a","b"],"since":{"a":"E:4","b":null},"last":1}`, "", "b16", `{"a":{"position":"E:15","recovered":false,"replay":0},"b":{"position":"E:14","recovered":true,"replay":1}}`},
		{`{"topics":["a","b"],"since":"` + cursor + `","limit":1}`, "", "a13", `{"a":{"position":"E:11","recovered":true,"replay":1},"b":{"position":"E:12","recovered":true,"replay":0}}`},
		{`{"topics":["a"],"since":"E:13"}`, "", "a15", `{"a":{"position":"E:13","recovered":true,"replay":1}}`},
		{`{"topics":["a"],"since":{"a":"E:15"}}`, cursor, "a13 a15", `{"a":{"position":"E:11","recovered":true,"replay":2}}`},
		{`{"topics":["a"],"since":{"a":"E:15"},"wait":0}`, "", "", `{"a":{"position":"E:15","recovered":true,"replay":0}}`},
		{"\ufeff" + `{"topics":["\u0061"],"since":{"\u0061":"E:13"}}`, "", "a15", `{"a":{"position":"E:13","recovered":true,"replay":1}}`},
	} {
		res := r.send(t, "/poll", c.body, "Authorization", r.bearer, "Content-Type", "application/json", "Last-Event-ID", c.lastID)
		a := parseAnswer(t, c.body, res)
		var topics struct{ Topics json.RawMessage }
		if err := json.Unmarshal([]byte(res.body), &topics); err != nil || a.texts() != c.texts || string(topics.Topics) != c.topics {
			t.Errorf("%s: %s, %v; want %s, %s", c.body, res.body, err, c.texts, c.topics)
		}
	}
	if stats := r.topics.Stats(); stats.Topics != 2 {
		t.Errorf("after the polls there are %d topics in use, want those with messages", stats.Topics)
	}
}

// A token in the body is used instead of that in the header.
func TestPostedToken(t *testing.T) {
	r := newReader(t, 5, httpapi.Config{})
	good, other := token(t, r.signer, auth.Subscribe, "a"), token(t, r.signer, auth.Subscribe, "d")
	body := func(token string) string { return `{"topics":["a"],"token":"` + token + `"}` }
	r.send(t, "/poll", body(good)).want(t, 200, "")
	r.send(t, "/poll", body(good), "Authorization", "Bearer "+other).want(t, 200, "")
	r.send(t, "/poll", body(""), "Authorization", "Bearer "+good).want(t, 200, "")
	r.send(t, "/poll", body(""), "Cookie", "notiflux_token="+good).want(t, 200, "")
	r.send(t, "/poll", body(other), "Authorization", "Bearer "+good).want(t, 403, pubsub.TopicDenied)
	missing := r.send(t, "/poll", body(""))
	missing.want(t, 401, pubsub.TokenMissing)
	missing.wantDetail(t, "send it in `token`, in the header")
}

// The vectors of package wire for the bodies of requests to read.
func TestReadVectors(t *testing.T) {
	type parsed struct {
		Topics      []pubsub.Topic
		Patterns    []string
		Since       map[pubsub.Topic]string
		Last        int
		Mode        string
		Wait, Limit int
		Token       string
	}
	file := vectors.Load[struct {
		Name, Input string
		Parsed      parsed
	}](t, "request-read.json")
	s := newHandler(t, httpapi.Config{})
	parse := func(body string) (reading.Body, error) {
		return s.api.ParsePosted(httptest.NewRecorder(), httptest.NewRequest("POST", "/stream", strings.NewReader(body)))
	}
	for _, v := range file.Valid {
		p, err := parse(v.Input)
		names, patterns := wire.SplitPatterns(p.Topics)
		got := parsed{Topics: names, Patterns: patterns, Since: make(map[pubsub.Topic]string), Mode: "all", Wait: p.Wait, Limit: p.Limit, Token: p.Token}
		if p.Latest {
			got.Mode = "latest"
		}
		for i, point := range p.ResumePoints {
			got.Last = point.Last
			if point.Since.Epoch != "" {
				got.Since[pubsub.Topic(p.Topics[i].Shown())] = point.Since.String()
			}
		}
		if err != nil || !reflect.DeepEqual(got, v.Parsed) {
			t.Errorf("%s: %+v, %v; want %+v", v.Name, got, err, v.Parsed)
		}
	}
	for _, v := range file.Invalid {
		if p, err := parse(v.Input); err == nil || pubsub.Refusal(err).Code != v.Code {
			t.Errorf("%s: %+v, %v; want %s", v.Name, p, err, v.Code)
		}
	}
}

func TestPostedRefusals(t *testing.T) {
	r := newReader(t, 5, httpapi.Config{})
	names := make([]string, 65)
	for i := range names {
		names[i] = fmt.Sprint(i)
	}
	many, _ := json.Marshal(map[string]any{"topics": names})
	for _, c := range []struct {
		path, body string
		status     int
		code       pubsub.Code
		detail     string
	}{
		{"", ``, 400, pubsub.Malformed, "the body is empty"},
		{"", `[]`, 400, pubsub.Malformed, "send a JSON object with `topics` or `patterns`"},
		{"", `{"topics":["a"]}{}`, 400, pubsub.Malformed, "after the JSON"},
		{"", `{"topics":["a"],"topics":["b"]}`, 400, pubsub.Malformed, "twice"},
		{"", `{}`, 400, pubsub.Malformed, "`topics` or `patterns` is missing"},
		{"", `{"topic":"a"}`, 400, pubsub.Malformed, "`topics` or `patterns` is missing"},
		{"", `{"topics":null}`, 400, pubsub.Malformed, "`topics` or `patterns` is missing"},
		{"", `{"topics":["a"],"patterns":["a*"]}`, 400, pubsub.Malformed, "both `topics` and `patterns`"},
		{"", `{"patterns":"a*"}`, 400, pubsub.Malformed, "`patterns` must be an array of strings"},
		{"", `{"patterns":[]}`, 400, pubsub.Malformed, "`patterns` is empty"},
		{"", `{"patterns":[1]}`, 400, pubsub.Malformed, "each of `patterns`"},
		{"", `{"patterns":["a*","a"]}`, 400, pubsub.TopicInvalid, "the pattern does not end with *"},
		{"", `{"patterns":["a*"],"last":1}`, 400, pubsub.Malformed, "only for topics"},
		{"", `{"patterns":["a*"],"mode":"latest"}`, 400, pubsub.Malformed, "only for topics"},
		{"", `{"patterns":["a*"],"presence":true}`, 400, pubsub.Malformed, "`presence` is only for WebSockets"},
		{"", `{"patterns":["a*"],"since":{"a*":"x"}}`, 400, pubsub.Malformed, "`since`: "},
		{"", `{"patterns":["a*"]}`, 403, pubsub.TopicDenied, "does not allow this pattern"},
		{"?pattern=a*", `{"patterns":["a*"]}`, 400, pubsub.Malformed, `the parameter "pattern" does not apply to POST`},
		{"", `{"topics":"a"}`, 400, pubsub.Malformed, "`topics` must be an array of strings"},
		{"", `{"topics":[]}`, 400, pubsub.Malformed, "`topics` is empty"},
		{"", `{"topics":["a",1]}`, 400, pubsub.Malformed, "each of `topics`"},
		{"", `{"topics":[""]}`, 400, pubsub.TopicInvalid, ""},
		{"", string(many), 400, pubsub.Malformed, "more than 64 topics"},
		{"", `{"topics":["a"],"since":1}`, 400, pubsub.Malformed, "`since` must be an object"},
		{"", `{"topics":["a"],"since":{"a":1}}`, 400, pubsub.Malformed, "a position in `since`"},
		{"", `{"topics":["a"],"since":{"b":1}}`, 400, pubsub.Malformed, "a position in `since`"},
		{"", `{"topics":["a"],"since":{"a":"x"}}`, 400, pubsub.Malformed, "`since`: "},
		{"", `{"topics":["a"],"since":"*"}`, 400, pubsub.Malformed, "`since`: "},
		{"", `{"topics":["a","b"],"since":"E:1"}`, 400, pubsub.Malformed, "applies to one topic"},
		{"", `{"topics":["a"],"last":-1}`, 400, pubsub.Malformed, "`last` must be a whole number"},
		{"", `{"topics":["a"],"wait":"1"}`, 400, pubsub.Malformed, "`wait` must be a whole number"},
		{"", `{"topics":["a"],"limit":1.5}`, 400, pubsub.Malformed, "`limit` must be a whole number"},
		{"", `{"topics":["a"],"mode":"newest"}`, 400, pubsub.Malformed, "`mode` must be all or latest"},
		{"", `{"topics":["a"],"presence":true}`, 400, pubsub.Malformed, "`presence` is only for WebSockets"},
		{"", `{"topics":["a"],"token":1}`, 400, pubsub.Malformed, "`token`"},
		{"", `{"topics":["\ud800"]}`, 400, pubsub.Malformed, "half"},
		{"?topic=a", `{"topics":["a"]}`, 400, pubsub.Malformed, `the parameter "topic" does not apply to POST`},
		{"?since=%zz", `{"topics":["a"]}`, 400, pubsub.Malformed, "the query is malformed"},
		{"?x;since=E:1", `{"topics":["a"]}`, 400, pubsub.Malformed, "the query is malformed"},
		{"?Last-Event-ID=x", `{"topics":["a"]}`, 400, pubsub.Malformed, `the parameter "Last-Event-ID" does not apply to POST`},
		{"?token=x", `{"topics":["a"]}`, 400, pubsub.Malformed, `the parameter "token" does not apply to POST`},
		{"?x=1", `{"topics":["d"]}`, 403, pubsub.TopicDenied, ""},
	} {
		res := r.send(t, "/poll"+c.path, c.body, "Authorization", r.bearer)
		res.want(t, c.status, c.code)
		res.wantDetail(t, c.detail)
	}
	r.send(t, "/poll", `{"topics":["a"]}`, "Authorization", r.bearer, "Content-Type", "text/plain").want(t, 415, pubsub.UnsupportedMediaType)
	r.send(t, "/poll", `{"topics":["a"],"x":"`+strings.Repeat("x", 1<<20)+`"}`, "Authorization", r.bearer).want(t, 413, pubsub.TooLarge)
}
