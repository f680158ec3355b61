package httpapi_test

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/httpapi"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

func at(offset uint64) pubsub.Position { return pubsub.Position{Epoch: "E", Offset: offset} }

// cursorOf returns the cursor with these offsets.
func cursorOf(offsets map[pubsub.Topic]uint64) string { return cursorIn("E", offsets) }

func cursorIn(epoch string, offsets map[pubsub.Topic]uint64) string {
	topics := slices.Sorted(maps.Keys(offsets))
	if len(topics) == 0 {
		return base64.RawURLEncoding.EncodeToString([]byte("\x82" + string(rune(len(epoch))) + epoch))
	}
	c := make([]wire.CursorPlace, len(topics))
	for i, topic := range topics {
		c[i] = wire.CursorPlace{Hash: wire.TopicHash(topic), Position: pubsub.Position{Epoch: epoch, Offset: offsets[topic]}}
	}
	return string(wire.AppendStreamCursor(nil, c))
}

// patterns returns the topics of patterns.
func patterns(list ...pubsub.Pattern) (topics []pubsub.Topic) {
	for _, p := range list {
		topics = append(topics, p.Topic())
	}
	return topics
}

// nestedPatterns returns parameters with n patterns, of which the first contains the others.
func nestedPatterns(n int) string {
	var q strings.Builder
	for i := range n {
		fmt.Fprintf(&q, "&pattern=%s*", strings.Repeat("x", i))
	}
	return q.String()
}

func manyTopics(n int) string {
	var q strings.Builder
	for i := range n {
		fmt.Fprintf(&q, "&topic=%d", i)
	}
	return q.String()
}

func TestParseStream(t *testing.T) {
	s := newHandler(t, httpapi.Config{})
	cursor := cursorOf(map[pubsub.Topic]uint64{"a": 7, "b": 9})
	epochs := string(wire.AppendStreamCursor(nil, []wire.CursorPlace{
		{Hash: wire.TopicHash(patterns("a*")[0]), Position: at(5)},
		{Hash: wire.TopicHash(patterns("ab*")[0]), Position: pubsub.Position{Epoch: "F", Offset: 1}},
	}))
	for _, c := range []struct {
		query  string
		lastID string // value of the header; "-": absent
		want   httpapi.StreamRequest
	}{
		{"topic=a", "-", httpapi.StreamRequest{Topics: []pubsub.Topic{"a"}, ResumePoints: []topic.ResumePoint{{}}}},
		{"topic=a", "", httpapi.StreamRequest{Topics: []pubsub.Topic{"a"}, ResumePoints: []topic.ResumePoint{{}}}},
		{"topic=b&topic=a&topic=b&x=1&x=2&mode=all", "-", httpapi.StreamRequest{Topics: []pubsub.Topic{"b", "a"}, ResumePoints: []topic.ResumePoint{{}, {}}}},
		{"topic=..%2F%3F%26+x", "-", httpapi.StreamRequest{Topics: []pubsub.Topic{"../?& x"}, ResumePoints: []topic.ResumePoint{{}}}},
		{"topic=a&since=E:42", "-", httpapi.StreamRequest{Topics: []pubsub.Topic{"a"}, ResumePoints: []topic.ResumePoint{{Since: at(42)}}}},
		{"topic=a&topic=a&since=E:42", "-", httpapi.StreamRequest{Topics: []pubsub.Topic{"a"}, ResumePoints: []topic.ResumePoint{{Since: at(42)}}}},
		{"topic=a&since=" + cursor, "-", httpapi.StreamRequest{Topics: []pubsub.Topic{"a"}, ResumePoints: []topic.ResumePoint{{Since: at(7)}}}},
		{"topic=c&topic=b&last=3&mode=latest&since=" + cursor, "-", httpapi.StreamRequest{
			Topics: []pubsub.Topic{"c", "b"}, ResumePoints: []topic.ResumePoint{{Last: 3, Epochs: []string{"E"}}, {Since: at(9), Last: 3}}, Latest: true}},
		{"topic=a&topic=b&since=E:1", cursor, httpapi.StreamRequest{Topics: []pubsub.Topic{"a", "b"}, ResumePoints: []topic.ResumePoint{{Since: at(7)}, {Since: at(9)}}}},
		{"pattern=a*&pattern=b*", "-", httpapi.StreamRequest{Topics: patterns("a*", "b*"), ResumePoints: []topic.ResumePoint{{}, {}}}},
		{"pattern=ab*&pattern=a*&pattern=a*&pattern=a%2Ac*&mode=all&last=0", "-", httpapi.StreamRequest{Topics: patterns("a*"), ResumePoints: []topic.ResumePoint{{}}}},
		{"pattern=a*&pattern=ab*&since=E:42", "-", httpapi.StreamRequest{Topics: patterns("a*"), ResumePoints: []topic.ResumePoint{{Since: at(42)}}}},
		{"pattern=a*", cursorOf(map[pubsub.Topic]uint64{"a*": 1, "a": 2, patterns("a*")[0]: 3}), httpapi.StreamRequest{Topics: patterns("a*"), ResumePoints: []topic.ResumePoint{{Since: at(3)}}}},
		{"pattern=c*&pattern=a*&pattern=ab*", cursorOf(map[pubsub.Topic]uint64{patterns("a*")[0]: 5, patterns("ab*")[0]: 3}), httpapi.StreamRequest{
			Topics: patterns("c*", "a*"), ResumePoints: []topic.ResumePoint{{Epochs: []string{"E"}}, {Since: at(3)}}}},
		{"pattern=a*&pattern=ab*", cursorOf(map[pubsub.Topic]uint64{patterns("ab*")[0]: 3}), httpapi.StreamRequest{Topics: patterns("a*"), ResumePoints: []topic.ResumePoint{{Since: at(3), Epochs: []string{"E"}}}}},
		{"pattern=a*&pattern=ab*", epochs, httpapi.StreamRequest{Topics: patterns("a*"), ResumePoints: []topic.ResumePoint{{Since: wire.NeverCovered}}}},
		{"topic=a&last=1001", "-", httpapi.StreamRequest{Topics: []pubsub.Topic{"a"}, ResumePoints: []topic.ResumePoint{{Last: 1000}}}},
		{"topic=a&last=99999999999999999999999", "-", httpapi.StreamRequest{Topics: []pubsub.Topic{"a"}, ResumePoints: []topic.ResumePoint{{Last: 1000}}}},
	} {
		r := httptest.NewRequest("GET", "/events?"+c.query, nil)
		if c.lastID != "-" {
			r.Header.Set("Last-Event-ID", c.lastID)
		}
		if got, err := s.api.ParseStream(r); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("ParseStream(%q, %q) = %+v, %v; want %+v", c.query, c.lastID, got, err, c.want)
		}
	}
	if got, err := s.api.ParseStream(httptest.NewRequest("GET", "/events?"+nestedPatterns(16), nil)); err != nil || len(got.Topics) != 1 {
		t.Errorf("16 patterns, of which one contains the others, were parsed as %d, %v", len(got.Topics), err)
	}
	if got, err := s.api.ParseStream(httptest.NewRequest("GET", "/events?topic=0"+manyTopics(64), nil)); err != nil || len(got.Topics) != 64 {
		t.Errorf("64 topics were parsed as %d, %v", len(got.Topics), err)
	}
}

func TestParseStreamRefuses(t *testing.T) {
	s := newHandler(t, httpapi.Config{})
	cursor := cursorOf(map[pubsub.Topic]uint64{"a": 7, "b": 9})
	for _, c := range []struct {
		query   string
		lastIDs []string
		code    pubsub.Code
	}{
		{"", nil, pubsub.Malformed},
		{"x=1", nil, pubsub.Malformed},
		{manyTopics(65), nil, pubsub.Malformed},
		{"topic=", nil, pubsub.TopicInvalid},
		{"topic=a%00", nil, pubsub.TopicInvalid},
		{"topic=%01a*", nil, pubsub.TopicInvalid},
		{"topic=a&pattern=a*", nil, pubsub.Malformed},
		{"topic=a&pattern=", nil, pubsub.Malformed},
		{"pattern=", nil, pubsub.TopicInvalid},
		{"pattern=a", nil, pubsub.TopicInvalid},
		{"pattern=%01a*", nil, pubsub.TopicInvalid},
		{"pattern=a*&pattern=b", nil, pubsub.TopicInvalid},
		{"pattern=" + strings.Repeat("x", 256) + "*", nil, pubsub.TopicInvalid},
		{"pattern=a*&last=1", nil, pubsub.Malformed},
		{"pattern=a*&mode=latest", nil, pubsub.Malformed},
		{"pattern=a*&mode=LATEST", nil, pubsub.Malformed},
		{"pattern=a*&pattern=b*&since=E:1", nil, pubsub.Malformed},
		{nestedPatterns(17), nil, pubsub.Malformed},
		{"topic=a%0a", nil, pubsub.TopicInvalid},
		{"topic=%ff", nil, pubsub.TopicInvalid},
		{"topic=a&topic=" + strings.Repeat("x", 256), nil, pubsub.TopicInvalid},
		{"topic=a&since=E:01", nil, pubsub.Malformed},
		{"topic=a&since=E:", nil, pubsub.Malformed},
		{"topic=a&topic=b&since=E:1", nil, pubsub.Malformed},
		{"topic=a&since=E:1&since=E:1", nil, pubsub.Malformed},
		{"topic=a&since=*", nil, pubsub.Malformed},
		{"topic=a&since=" + url.QueryEscape(cursor+"="), nil, pubsub.Malformed},
		{"topic=a&last=", nil, pubsub.Malformed},
		{"topic=a&last=-1", nil, pubsub.Malformed},
		{"topic=a&last=%2B1", nil, pubsub.Malformed},
		{"topic=a&last=1.5", nil, pubsub.Malformed},
		{"topic=a&last=1&last=1", nil, pubsub.Malformed},
		{"topic=a&mode=", nil, pubsub.Malformed},
		{"topic=a&mode=LATEST", nil, pubsub.Malformed},
		{"topic=a&mode=all&mode=all", nil, pubsub.Malformed},
		{"topic=a&token=x&token=x", nil, pubsub.Malformed},
		{"topic=a%", nil, pubsub.Malformed},
		{"topic=a;b", nil, pubsub.Malformed},
		{"topic=a", []string{"E:1"}, pubsub.Malformed},
		{"topic=a", []string{base64.RawURLEncoding.EncodeToString(append([]byte{255}, strings.Repeat("E", 300)...))}, pubsub.Malformed},
		{"topic=a", []string{"\x01"}, pubsub.Malformed},
		{"topic=a", []string{cursor + "\n"}, pubsub.Malformed},
		{"topic=a", []string{strings.Repeat("A", 10<<10)}, pubsub.Malformed},
		{"topic=a", []string{cursor, cursor}, pubsub.Malformed},
		{"topic=a&since=E:1", []string{"nonsense!"}, pubsub.Malformed},
	} {
		r := httptest.NewRequest("GET", "/events?"+c.query, nil)
		r.Header["Last-Event-Id"] = c.lastIDs
		if got, err := s.api.ParseStream(r); err == nil || pubsub.Refusal(err).Code != c.code {
			t.Errorf("ParseStream(%.60q, %.60q) = %+v, %v; want %s", c.query, c.lastIDs, got, err, c.code)
		}
	}
}

// The server honors a resume point in every form that clients send. The first one applies,
// an empty one counts as absent, and the error for an invalid one names it.
func TestResumePointsInEveryForm(t *testing.T) {
	s := newHandler(t, httpapi.Config{})
	forms := []string{"lastEventId", "lastEventID", "last_event_id", "Last-Event-ID", "since"}
	parse := func(header string, q url.Values) (httpapi.StreamRequest, error) {
		q.Set("topic", "a")
		r := httptest.NewRequest("GET", "/events?"+q.Encode(), nil)
		if header != "-" {
			r.Header.Set("Last-Event-ID", header)
		}
		return s.api.ParseStream(r)
	}
	place := func(offset uint64) string { return cursorOf(map[pubsub.Topic]uint64{"a": offset}) }
	want := func(what string, offset uint64, got httpapi.StreamRequest, err error) {
		t.Helper()
		point := topic.ResumePoint{}
		if offset > 0 {
			point.Since = at(offset)
		}
		if err != nil || len(got.ResumePoints) != 1 || !reflect.DeepEqual(got.ResumePoints[0], point) {
			t.Errorf("%s: %+v, %v; want %+v", what, got.ResumePoints, err, point)
		}
	}
	refused := func(what, named string, err error) {
		t.Helper()
		if e := pubsub.Refusal(err); err == nil || e.Code != pubsub.Malformed || !strings.Contains(e.Detail, named) {
			t.Errorf("%s: %v, want %s containing %q", what, err, pubsub.Malformed, named)
		}
	}
	for i, form := range forms {
		got, err := parse("-", url.Values{form: {place(7)}})
		want(form, 7, got, err)
		got, err = parse("-", url.Values{form: {"E:7"}})
		want(form+", a position", 7, got, err)
		got, err = parse("-", url.Values{form: {""}})
		want(form+", empty", 0, got, err)
		got, err = parse("", url.Values{form: {place(7)}})
		want(form+", with an empty header", 7, got, err)
		got, err = parse(place(9), url.Values{form: {place(7)}})
		want("the header and "+form, 9, got, err)

		all := url.Values{}
		for j, other := range forms[i:] {
			all.Set(other, place(uint64(i+j+1)))
		}
		got, err = parse("-", all)
		want(form+" and those after it", uint64(i+1), got, err)

		_, err = parse("-", url.Values{form: {"nonsense!"}})
		refused(form, "`"+form+"`", err)
		_, err = parse(place(9), url.Values{form: {"nonsense!"}})
		refused("a good header and a bad "+form, "`"+form+"`", err)
		_, err = parse("-", url.Values{form: {"", place(7)}})
		refused(form+" twice", "`"+form+"`", err)
		_, err = parse("nonsense!", url.Values{form: {place(7)}})
		refused("a bad header and a good "+form, "the header Last-Event-ID", err)
	}
	for _, name := range []string{"LastEventId", "last-event-id", "LAST_EVENT_ID", "lasteventid"} {
		_, err := parse("-", url.Values{name: {place(7)}})
		refused(name, "lastEventId", err)
	}
}

// A parsed query keeps the promises of a StreamRequest.
func FuzzParseStream(f *testing.F) {
	f.Add("topic=a&topic=b&last=5&mode=latest", "")
	f.Add("topic=a&since=E:1", cursorOf(map[pubsub.Topic]uint64{"a": 300}))
	f.Fuzz(func(t *testing.T, query, lastID string) {
		r := httptest.NewRequest("GET", "/events", nil)
		r.URL.RawQuery = query
		r.Header.Set("Last-Event-ID", lastID)
		got, err := httpapi.New(httpapi.Config{}).ParseStream(r)
		if err != nil {
			if code := pubsub.Refusal(err).Code; code != pubsub.Malformed && code != pubsub.TopicInvalid {
				t.Errorf("ParseStream(%q, %q) = %v", query, lastID, err)
			}
			return
		}
		seen := make(map[pubsub.Topic]bool)
		for i, topic := range got.Topics {
			if _, err := pubsub.ParseTopic(string(topic)); err != nil || seen[topic] || got.ResumePoints[i].Last < 0 || got.ResumePoints[i].Last > 1000 {
				t.Errorf("ParseStream(%q, %q) = %+v", query, lastID, got)
			}
			seen[topic] = true
		}
		if len(got.Topics) < 1 || len(got.Topics) > 64 || len(got.ResumePoints) != len(got.Topics) {
			t.Errorf("ParseStream(%q, %q) = %+v", query, lastID, got)
		}
	})
}
