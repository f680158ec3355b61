package httpapi_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/httpapi"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// The server checks a few wrong tokens of a request, and refuses the elements with further
// ones unchecked. The rest of the request is not affected.
func TestWrongSignaturesOfOneRequest(t *testing.T) {
	s := newService(t, httpapi.Config{})
	good := token(t, s.signer, auth.Broadcast, "a")
	late := token(t, s.signer, auth.Broadcast, "a", "b") // also valid, but not seen before
	foreignIssuer, _ := newIssuer(t)
	wrong := make([]string, 8)
	for i := range wrong {
		wrong[i] = token(t, foreignIssuer, auth.Broadcast, "a", pubsub.Topic(fmt.Sprint(i)))
	}
	element := func(token string) string { return `{"topic":"a","message":1,"token":"` + token + `"}` }
	s.do(t, "POST", "/broadcast", element(good)).want(t, 200, "")

	ask := func(tokens ...string) (codes []string) {
		elements := make([]string, len(tokens))
		for i, token := range tokens {
			elements[i] = element(token)
		}
		r := s.do(t, "POST", "/broadcast", "["+strings.Join(elements, ",")+"]")
		var results []struct {
			Position string
			Error    struct{ Code string }
		}
		if err := json.Unmarshal([]byte(r.body), &results); err != nil {
			t.Fatalf("%v: %s", err, r.body)
		}
		for _, result := range results {
			if result.Position != "" {
				result.Error.Code = "ok"
			}
			codes = append(codes, result.Error.Code)
		}
		return codes
	}
	const invalid, later = "token_invalid", "over_capacity"
	got := ask(wrong[0], wrong[1], "nonsense", wrong[2], good, wrong[3], wrong[4], late, wrong[0], wrong[5], good, "nonsense")
	want := []string{invalid, invalid, invalid, invalid, "ok", invalid, later, later, invalid, later, "ok", invalid}
	if !slices.Equal(got, want) {
		t.Errorf("the results are\n%q, want\n%q", got, want)
	}
	// Another request starts from zero, and the tokens refused before cost it nothing.
	got = ask(wrong[0], wrong[1], wrong[2], wrong[3], late, wrong[4])
	want = []string{invalid, invalid, invalid, invalid, "ok", invalid}
	if !slices.Equal(got, want) {
		t.Errorf("the next request: the results are\n%q, want\n%q", got, want)
	}
	// All refusals were caused by publishers or by clients without a token.
	if got, want := s.api.Stats(), (httpapi.Stats{Accepted: 4, Refused: 15}); got != want {
		t.Errorf("Stats() = %+v, want %+v", got, want)
	}
}

// The answer to a list has one result per message, in order. A wrong message does not stop
// the others.
func TestBatches(t *testing.T) {
	s := newService(t, httpapi.Config{})
	header := "Bearer " + token(t, s.signer, auth.Broadcast, "a", "b")
	other := token(t, s.signer, auth.Broadcast, "c")
	listen := token(t, s.signer, auth.Subscribe, "a")
	for _, c := range []struct {
		name, body string
		status     int
		want       string // OFFSET stands for increasing offsets
	}{
		{"an empty array", `[]`, 200, `[]`},
		{"one", `[{"topic":"a","message":1}]`, 200, `[{"topic":"a","position":"E:OFFSET"}]`},
		{"in order", `[{"topic":"a","message":1},{"topic":"b","message":"x"},{"topic":"a","message":null}]`, 200,
			`[{"topic":"a","position":"E:OFFSET"},{"topic":"b","position":"E:OFFSET"},{"topic":"a","position":"E:OFFSET"}]`},
		{"topics of one object", `{"topics":["b","a"],"message":1}`, 200, `[{"topic":"b","position":"E:OFFSET"},{"topic":"a","position":"E:OFFSET"}]`},
		{"one topic of one object", `{"topics":["b"],"message":1}`, 200, `[{"topic":"b","position":"E:OFFSET"}]`},
		{"an invalid topic in topics", `{"topics":["b","","c"],"message":1}`, 207,
			`[{"topic":"b","position":"E:OFFSET"},{"error":{"code":"topic_invalid","message":"the topic is empty"}},` +
				`{"topic":"c","error":{"code":"topic_denied","message":"the token does not allow this topic: its claim ` + "`topic` or `topics`" + ` must contain exactly this name"}}]`},
		{"a token in each element", `[{"topic":"c","message":1,"token":"` + other + `"},{"topic":"c","message":1},{"topic":"a","message":1,"token":"` + listen + `"},{"topic":"a","message":2}]`, 207,
			`[{"topic":"c","position":"E:OFFSET"},` +
				`{"topic":"c","error":{"code":"topic_denied","message":"the token does not allow this topic: its claim ` + "`topic` or `topics`" + ` must contain exactly this name"}},` +
				`{"topic":"a","error":{"code":"scope_denied","message":"the token does not have the scope broadcast"}},` +
				`{"topic":"a","position":"E:OFFSET"}]`},
		{"what is wrong in itself", `[1,{"topic":1,"message":1},{"topic":"a"},{"message":1},{"topics":["a","b"],"message":3},{"topic":"a\n","message":1}]`, 207,
			"[{\"error\":{\"code\":\"malformed\",\"message\":\"the element is not an object: each element must be an object with `topic` and `message`\"}}," +
				"{\"error\":{\"code\":\"malformed\",\"message\":\"`topic` must be a string\"}}," +
				"{\"topic\":\"a\",\"error\":{\"code\":\"malformed\",\"message\":\"`message` is missing\"}}," +
				"{\"error\":{\"code\":\"malformed\",\"message\":\"`topic` is missing\"}}," +
				`{"topic":"a","position":"E:OFFSET"},{"topic":"b","position":"E:OFFSET"},` +
				`{"topic":"a\n","error":{"code":"topic_invalid","message":"the topic has the control character U+000A at byte 1"}}]`},
		{"two halves of different emojis", `[{"topic":"a","message":1},{"\ud800":1,"\ud801":2,"topic":"a","message":1},{"topic":"a","message":{"\ud800":1,"\ufffd":2}},"\ud800"]`, 207,
			`[{"topic":"a","position":"E:OFFSET"},{"topic":"a","error":FAULT},{"topic":"a","error":FAULT},{"error":FAULT}]`},
		{"half an emoji, wherever it stands", `[{"topic":"a","message":"\ud83d"},{"topic":"a","message":{"x":["\ude00"]}},{"topics":["a","b"],"message":"\ud83d"},` +
			`{"topic":"\ud83d","message":1},{"topic":"a","message":1,"\ud83d":1},{"topic":"a","message":"\ud83d\ude00"}]`, 207,
			`[{"topic":"a","error":FAULT},{"topic":"a","error":FAULT},{"topic":"a","error":FAULT},{"topic":"b","error":FAULT},{"error":FAULT},` +
				`{"topic":"a","error":FAULT},{"topic":"a","position":"E:OFFSET"}]`},
		{"a message too large", `[{"topic":"a","message":"` + strings.Repeat("x", 64<<10+1) + `"},{"topic":"a","message":1}]`, 207,
			`[{"topic":"a","error":{"code":"too_large","message":"the message has 65537 bytes; the limit is 65536"}},{"topic":"a","position":"E:OFFSET"}]`},
		{"a fault before the topic", `[{"message":"` + strings.Repeat("x", 64<<10+1) + `","topic":"a"},{"key":"","topics":["a","b"],"message":1},{"key":"","topics":["a",1]},{"topics":["a","b"],"topic":"c","message":1}]`, 207,
			`[{"topic":"a","error":FAULT},{"topic":"a","error":FAULT},{"topic":"b","error":FAULT},{"error":FAULT},{"topic":"c","error":FAULT}]`},
	} {
		r := s.do(t, "POST", "/broadcast", c.body, "Authorization", header)
		want, next := c.want, len(s.publisher.all())-strings.Count(c.want, "OFFSET")
		for strings.Contains(want, "OFFSET") {
			next++
			want = strings.Replace(want, "OFFSET", fmt.Sprint(next), 1)
		}
		if strings.Contains(c.want, "FAULT") { // other tests check which one
			r.body = regexp.MustCompile(`"error":{[^}]*}`).ReplaceAllString(r.body, `"error":FAULT`)
		}
		if r.status != c.status || strings.TrimSpace(r.body) != want || r.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %s\nwant %d %s", c.name, r.status, r.body, c.status, want)
		}
	}
	if got := s.api.Stats(); got.Accepted != uint64(len(s.publisher.all())) || got.Refused != 24 || got.Failed != 0 {
		t.Errorf("counted %+v, want %d accepted, 24 refused", got, len(s.publisher.all()))
	}
}

// Without any token, each element of a list is refused. A broken header refuses every
// element that needs it.
func TestBatchesWithoutToken(t *testing.T) {
	s := newService(t, httpapi.Config{})
	own := token(t, s.signer, auth.Broadcast, "a")
	body := `[{"topic":"a","message":1},{"topic":"a","message":1,"token":"` + own + `"}]`
	for header, code := range map[string]string{"": "token_missing", "Basic x": "token_invalid"} {
		var headers []string
		if header != "" {
			headers = []string{"Authorization", header}
		}
		r := s.do(t, "POST", "/broadcast", body, headers...)
		if r.status != 207 || !strings.HasPrefix(r.body, `[{"topic":"a","error":{"code":"`+code+`"`) || !strings.Contains(r.body, `,{"topic":"a","position":`) {
			t.Errorf("with %q: %d %s", header, r.status, r.body)
		}
	}
}

// A token that many elements share is verified once, even if it is wrong.
func TestBatchVerifiesATokenOnce(t *testing.T) {
	s := newService(t, httpapi.Config{})
	foreignIssuer, _ := newIssuer(t)
	body := `[{` + ok + `}` + strings.Repeat(`,{`+ok+`}`, 999) + `]`
	r := s.do(t, "POST", "/broadcast", body, "Authorization", "Bearer "+token(t, foreignIssuer, auth.Broadcast, "a"))
	if n := strings.Count(r.body, `"token_invalid"`); r.status != 207 || n != 1000 {
		t.Errorf("%d with %d errors, want 207 with 1000", r.status, n)
	}
	if n := s.verifier.Stats().Refused; n != 1 {
		t.Errorf("%d tokens were verified, want 1", n)
	}
}

// An error of the broker is the error of its element.
func TestBatchesThatTheBrokerRefuses(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{pubsub.Errorf(pubsub.KeyReused, "another"), `{"code":"key_reused","message":"another"}`},
		{pubsub.Errorf(pubsub.OverCapacity, "many keys"), `{"code":"over_capacity","message":"many keys"}`},
		{errors.New("dial secret.example.com"), `{"code":"internal","message":"the server failed to handle this request: try again later"}`},
	} {
		s := newService(t, httpapi.Config{Broker: &publisher{err: c.err}})
		r := s.do(t, "POST", "/broadcast", `{"topics":["a"],"message":1,"key":"k"}`, "Authorization", "Bearer "+token(t, s.signer, auth.Broadcast, "a"))
		if want := `[{"topic":"a","error":` + c.want + `}]`; r.status != 207 || strings.TrimSpace(r.body) != want {
			t.Errorf("%v: %d %s, want 207 %s", c.err, r.status, r.body, want)
		}
	}
}

func TestKeysAndExclude(t *testing.T) {
	s := newService(t, httpapi.Config{})
	bearer := "Bearer " + token(t, s.signer, auth.Broadcast, "a", "b")
	post := func(body string, headers ...string) *response {
		return s.do(t, "POST", "/broadcast", body, append(headers, "Authorization", bearer)...)
	}
	const ok = `"topic":"a","message":1`
	for _, c := range []struct {
		body   string
		header []string
		want   pubsub.Publication
	}{
		{`{` + ok + `}`, nil, pubsub.Publication{}},
		{`{` + ok + `,"key":"k"}`, nil, pubsub.Publication{Key: "k"}},
		{`{` + ok + `}`, []string{"k"}, pubsub.Publication{Key: "k"}},
		{`{` + ok + `,"key":"k"}`, []string{"k"}, pubsub.Publication{Key: "k"}},
		{`{` + ok + `}`, []string{`"k"`}, pubsub.Publication{Key: "k"}}, // a string of a structured field
		{`{` + ok + `,"key":"k"}`, []string{`"k"`}, pubsub.Publication{Key: "k"}},
		{`{` + ok + `}`, []string{`"a \"b\" \\c"`}, pubsub.Publication{Key: `a "b" \c`}},
		{`{` + ok + `}`, []string{`a"b\c`}, pubsub.Publication{Key: `a"b\c`}},
		{`{` + ok + `}`, []string{`"k";a=1`}, pubsub.Publication{Key: "k"}}, // parameters are ignored
		{`{` + ok + `}`, []string{`"k;\"x";a;b=?1; *c-d="\";,";e=-1.5;f=tok/en;g=:YQ==:`}, pubsub.Publication{Key: `k;"x`}},
		{`{` + ok + `}`, []string{`k;a=1`}, pubsub.Publication{Key: `k;a=1`}},
		{`{` + ok + `,"key":"\"k\""}`, nil, pubsub.Publication{Key: `"k"`}},
		{`{"topics":["b","a"],"message":1}`, []string{"k"}, pubsub.Publication{Key: "k"}},
		{`[{` + ok + `,"key":"k"}]`, nil, pubsub.Publication{Key: "k"}},
		{`{` + ok + `,"exclude":"00000000000000ff"}`, nil, pubsub.Publication{Exclude: 255}},
	} {
		var headers []string
		for _, key := range c.header {
			headers = append(headers, "Idempotency-Key", key)
		}
		post(c.body, headers...).want(t, 200, "")
		all := s.publisher.all()
		if got := all[len(all)-1]; got.Key != c.want.Key || got.Exclude != c.want.Exclude || got.Topic != "a" {
			t.Errorf("%s %v: published %+v, want %+v", c.body, c.header, got, c.want)
		}
	}
	for _, c := range []struct {
		body   string
		header []string
		detail string
	}{
		{`{` + ok + `,"key":"k"}`, []string{"other"}, "differ"},
		{`{` + ok + `}`, []string{"k", "k"}, "more than one"},
		{`{` + ok + `}`, []string{""}, "a key has"},
		{`[{` + ok + `}]`, []string{"k"}, "an array"},
		{`{` + ok + `,"key":"\"k\""}`, []string{`"k"`}, "differ"},
		{`{` + ok + `}`, []string{`""`}, "a key has"},
		{`{` + ok + `}`, []string{`"`}, "not a valid quoted string"},
		{`{` + ok + `}`, []string{`"k`}, "not a valid quoted string"},
		{`{` + ok + `}`, []string{`"k\"`}, "not a valid quoted string"},
		{`{` + ok + `}`, []string{`"k"x`}, "not a valid quoted string"},
		{`{` + ok + `}`, []string{`"k\x"`}, "not a valid quoted string"},
		{`{` + ok + `}`, []string{`"k";`}, "not a valid quoted string"},
		{`{` + ok + `}`, []string{`"k";A=1`}, "not a valid quoted string"},
		{`{` + ok + `}`, []string{`"k";a=`}, "not a valid quoted string"},
		{`{` + ok + `}`, []string{`"k";a="1`}, "not a valid quoted string"},
		{`{` + ok + `}`, []string{`"k", "k"`}, "not a valid quoted string"},
		{`{` + ok + `}`, []string{`"k";a=1, "k"`}, "not a valid quoted string"},
	} {
		var headers []string
		for _, key := range c.header {
			headers = append(headers, "Idempotency-Key", key)
		}
		r := post(c.body, headers...)
		r.want(t, 400, pubsub.Malformed)
		r.wantDetail(t, c.detail)
	}
	s.publisher.err = pubsub.Errorf(pubsub.KeyReused, "reused")
	post(`{`+ok+`,"key":"k"}`).want(t, 409, pubsub.KeyReused)
}
