package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/broker/memory"
	"github.com/ikornaselur/notiflux/internal/httpapi"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// epoch is the epoch of the topics in these tests.
const epoch = "E"

// A reader is a service whose topics keep a few messages, with a token to read a, b and c.
type reader struct {
	*service
	topics *topic.Topics
	broker *memory.Broker
	bearer string
}

func newReader(t testing.TB, keep int, c httpapi.Config) *reader {
	t.Helper()
	r := new(reader)
	r.broker, r.topics = memory.New(memory.Config{Epoch: epoch}, topic.Config{PerTopic: topic.Limits{Count: keep}})
	c.Topics, c.Broker, c.Attacher = r.topics, r.broker, broker.NewAttacher(r.broker, broker.AttacherConfig{})
	r.service = newHandler(t, c)
	r.bearer = "Bearer " + token(t, r.signer, auth.Subscribe, "a", "b", "c")
	return r
}

// publish publishes a string and returns its offset.
func (r *reader) publish(t testing.TB, topic pubsub.Topic, text string) uint64 {
	t.Helper()
	return r.order(t, topic, pubsub.Body{Data: []byte(text)})
}

func (r *reader) order(t testing.TB, topic pubsub.Topic, body pubsub.Body) uint64 {
	t.Helper()
	ps := []pubsub.Publication{{Topic: topic, Body: body}}
	r.broker.Publish(ps, nil)
	if ps[0].Err != nil {
		t.Fatal(ps[0].Err)
	}
	return ps[0].Position.Offset
}

// An answer is the decoded answer to /history or /poll.
type answer struct {
	Cursor    string
	Position  string
	Recovered bool
	More      bool
	Messages  []struct {
		Type, Topic, Position string
		Time                  int64
		Data                  any
	}
}

// texts returns the data of the messages, separated by spaces.
func (a *answer) texts() string {
	var b strings.Builder
	for i, m := range a.Messages {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprint(&b, m.Data)
	}
	return b.String()
}

// get requests a path with the reader's token, and returns the answer.
func (r *reader) get(t testing.TB, path string) answer {
	t.Helper()
	res := r.serve(t, t.Context(), "GET", path, "Authorization", r.bearer)
	return parseAnswer(t, path, res)
}

func parseAnswer(t testing.TB, path string, res *response) (a answer) {
	t.Helper()
	if res.status != 200 || res.header.Get("Content-Type") != "application/json" || res.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("GET %s = %d %v %s", path, res.status, res.header, res.body)
	}
	if err := json.Unmarshal([]byte(res.body), &a); err != nil || a.Messages == nil {
		t.Fatalf("GET %s = %q: %v", path, res.body, err)
	}
	return a
}

func TestHistory(t *testing.T) {
	r := newReader(t, 5, httpapi.Config{})
	for i := range 8 { // a then has 7 9 11 13 15, b has 8 and so on
		r.publish(t, "a", fmt.Sprint("a", 2*i+1))
		r.publish(t, "b", "b")
	}
	for _, c := range []struct {
		query     string
		texts     string
		position  string
		recovered bool
		more      bool
	}{
		{"", "a7 a9 a11 a13 a15", "E:15", true, false},
		{"&limit=2", "a13 a15", "E:15", true, false},
		{"&limit=0", "", "E:15", true, false},
		{"&limit=1000000", "a7 a9 a11 a13 a15", "E:15", true, false},
		{"&since=E:9", "a11 a13 a15", "E:15", true, false},
		{"&since=E:10", "a11 a13 a15", "E:15", true, false},
		{"&since=E:9&limit=2", "a11 a13", "E:13", true, true},
		{"&since=E:13&limit=1", "a15", "E:15", true, false},
		{"&since=E:9&limit=0", "", "E:9", true, true},
		{"&since=E:15", "", "E:15", true, false},
		{"&since=E:5", "a7 a9 a11 a13 a15", "E:15", true, false}, // the last message that was dropped
		{"&since=E:4", "a7 a9 a11 a13 a15", "E:15", false, false},
		{"&since=E:4&limit=2", "a7 a9", "E:9", false, true},
		{"&since=E:0&limit=0", "", "E:5", false, true},
		{"&since=E:16", "a7 a9 a11 a13 a15", "E:15", false, false}, // in the future
		{"&since=F:9", "a7 a9 a11 a13 a15", "E:15", false, false},
	} {
		a := r.get(t, "/history?topic=a"+c.query)
		if a.texts() != c.texts || a.Position != c.position || a.Recovered != c.recovered || a.More != c.more {
			t.Errorf("%q: %+v; want %+v", c.query, a, c)
		}
	}
	if a := r.get(t, "/history?topic=c"); a.texts() != "" || a.Position != "E:0" || !a.Recovered || a.More {
		t.Errorf("a topic without messages: %+v", a)
	}
	if a := r.get(t, "/history?topic=c&since=E:0"); a.Position != "E:0" || !a.Recovered || a.More {
		t.Errorf("a topic without messages, since its position: %+v", a)
	}
}

// Reading on from the position of each page returns each message once.
func TestHistoryInPages(t *testing.T) {
	r := newReader(t, 100, httpapi.Config{})
	var want []string
	for i := range 50 {
		want = append(want, fmt.Sprint(i))
		r.publish(t, "a", want[i])
	}
	var got []string
	for path := "/history?topic=a&limit=7&since=E:0"; ; {
		a := r.get(t, path)
		if !a.Recovered || a.More != (len(got)+len(a.Messages) < 50) {
			t.Fatalf("%s: %+v", path, a)
		}
		got = append(got, strings.Fields(a.texts())...)
		path = "/history?topic=a&limit=7&since=" + a.Position
		if !a.More {
			break
		}
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("got %v", got)
	}
}

// An answer is built in memory, so it ends early instead of holding everything.
func TestHistoryIsLimitedInBytes(t *testing.T) {
	r := newReader(t, 100, httpapi.Config{})
	big := strings.Repeat("x", 400<<10)
	for range 5 {
		r.publish(t, "a", big)
	}
	for since, want := range map[string]answer{
		"":           {Position: "E:3", More: true},
		"&since=E:2": {Position: "E:5", More: false},
		"&since=E:1": {Position: "E:4", More: true},
	} {
		a := r.get(t, "/history?topic=a"+since)
		if a.Position != want.Position || a.More != want.More || !a.Recovered || len(a.Messages) != 3 {
			t.Errorf("%q: %d messages, position %s, more %v; want %s, %v", since, len(a.Messages), a.Position, a.More, want.Position, want.More)
		}
	}
	if a := r.get(t, "/poll?topic=a&since=E:0"); len(a.Messages) != 3 {
		t.Errorf("a poll returned %d messages", len(a.Messages))
	} else if a = r.get(t, "/poll?topic=a&since="+a.Cursor); len(a.Messages) != 2 || !a.Recovered {
		t.Errorf("the next poll returned %d messages", len(a.Messages))
	}
}

func TestHistoryAndPollReturnTheSameMessages(t *testing.T) {
	r := newReader(t, 5, httpapi.Config{})
	before := time.Now().UnixMilli()
	r.order(t, "a", pubsub.Body{Data: []byte(`{"x":[1,null]}`), JSON: true})
	r.publish(t, "a", "\"\n\u2028é</script>")
	a, p := r.get(t, "/history?topic=a"), r.get(t, "/poll?topic=a&since=E:0")
	for i, want := range []any{map[string]any{"x": []any{1.0, nil}}, "\"\n\u2028é</script>"} {
		m := a.Messages[i]
		if fmt.Sprint(m.Data) != fmt.Sprint(want) || m.Type != "message" || m.Topic != "a" || m.Position != fmt.Sprintf("E:%d", i+1) || m.Time < before {
			t.Errorf("message %d of the history is %+v, want %v", i, m, want)
		}
		if fmt.Sprint(m) != fmt.Sprint(p.Messages[i]) {
			t.Errorf("message %d of the poll is %+v, want %+v", i, p.Messages[i], m)
		}
	}
}

// An empty resume point counts as absent on every route, in every spelling.
func TestEmptyResumePoints(t *testing.T) {
	r := newReader(t, 5, httpapi.Config{})
	r.publish(t, "a", "x")
	for _, name := range []string{"since", "Since", "since[]", "lastEventId", "Last-Event-ID", "lasteventid", "LAST_EVENT_ID", "last-event-id"} {
		for _, path := range []string{"/history?topic=a&", "/poll?topic=a&last=5&"} {
			if a := r.get(t, path+name+"="); a.texts() != "x" {
				t.Errorf("%s%s= returned %q", path, name, a.texts())
			}
		}
		if _, err := r.api.ParseStream(httptest.NewRequest("GET", "/events?topic=a&"+name+"=", nil)); err != nil {
			t.Errorf("/events?topic=a&%s=: %v", name, err)
		}
	}
}

// A client that sends a resume point under an unknown name must not get an answer that says
// that nothing is missing.
func TestMisspelledResumePoints(t *testing.T) {
	r := newReader(t, 5, httpapi.Config{})
	for _, name := range []string{
		"Since", "SINCE", "since[]", "since[0]", "since[a]", "Since[]", "since_", "-since",
		"lasteventid", "LastEventId", "last-event-id", "LAST_EVENT_ID", "lastEventId[]", "last_event_id[]", "Last-Event-ID[]", "last_eventID[0]",
	} {
		query := "topic=a&" + url.QueryEscape(name) + "=E:1"
		for _, path := range []string{"/history?", "/poll?wait=0&"} {
			r.serve(t, t.Context(), "GET", path+query, "Authorization", r.bearer).want(t, 400, pubsub.Malformed)
		}
		for _, path := range []string{"/events?", "/stream?"} {
			if _, err := r.api.ParseStream(httptest.NewRequest("GET", path+query, nil)); err == nil || pubsub.Refusal(err).Code != pubsub.Malformed {
				t.Errorf("%s%s: %v, want malformed", path, query, err)
			}
		}
	}
	for _, name := range []string{"sincere", "lastEvent", "event_id"} { // not resume points
		r.get(t, "/poll?wait=0&topic=a&"+name+"=E:1")
	}
}

// The order of the checks, and each refusal.
func TestRefusedReaders(t *testing.T) {
	r := newReader(t, 5, httpapi.Config{})
	foreign := "Bearer " + token(t, r.signer, auth.Subscribe, "other")
	scope := "Bearer " + token(t, r.signer, auth.Broadcast, "a")
	for _, c := range []struct {
		path   string
		bearer string
		status int
		code   pubsub.Code
	}{
		{"/history", "", 400, pubsub.Malformed},
		{"/history?topic=", "", 400, pubsub.TopicInvalid},
		{"/history?topic=a%0A", "", 400, pubsub.TopicInvalid},
		{"/history?topic=a&topic=b", "", 400, pubsub.Malformed},
		{"/history?topic=a&topic=a", "", 400, pubsub.Malformed},
		{"/history?topic=a&limit=x", "", 400, pubsub.Malformed},
		{"/history?topic=a&limit=", "", 400, pubsub.Malformed},
		{"/history?topic=a&limit=-1", "", 400, pubsub.Malformed},
		{"/history?topic=a&limit=1&limit=1", "", 400, pubsub.Malformed},
		{"/history?topic=a&since=E:01", "", 400, pubsub.Malformed},
		{"/history?topic=a&since=" + cursorOf(map[pubsub.Topic]uint64{"a": 1}), "", 400, pubsub.Malformed},
		{"/history?topic=a&lastEventId=E:1", "", 400, pubsub.Malformed},
		{"/history?topic=a;b", "", 400, pubsub.Malformed},
		{"/history?topic=a", "", 401, pubsub.TokenMissing},
		{"/history?topic=a", "Bearer x", 401, pubsub.TokenInvalid},
		{"/history?topic=a", foreign, 403, pubsub.TopicDenied},
		{"/history?topic=a", scope, 403, pubsub.ScopeDenied},
		{"/poll", "", 400, pubsub.Malformed},
		{"/poll?topic=a&since=x", "", 400, pubsub.Malformed},
		{"/poll?topic=a&lastEventId=x", "", 400, pubsub.Malformed},
		{"/poll?topic=a&wait=1.5", "", 400, pubsub.Malformed},
		{"/poll?topic=a&wait=-1", "", 400, pubsub.Malformed},
		{"/poll?topic=a&wait=", "", 400, pubsub.Malformed},
		{"/poll?topic=a&wait=1&wait=1", "", 400, pubsub.Malformed},
		{"/poll?topic=a&topic=b&since=E:1", "", 400, pubsub.Malformed},
		{"/poll?topic=a", "", 401, pubsub.TokenMissing},
		{"/poll?topic=a&topic=other", r.bearer, 403, pubsub.TopicDenied},
		{"/poll?topic=a", scope, 403, pubsub.ScopeDenied},
	} {
		var header []string
		if c.bearer != "" {
			header = []string{"Authorization", c.bearer}
		}
		r.serve(t, t.Context(), "GET", c.path, header...).want(t, c.status, c.code)
	}
}
