package httpapi_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/httpapi"
	"github.com/ikornaselur/notiflux/internal/listen"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

func TestPoll(t *testing.T) {
	r := newReader(t, 5, httpapi.Config{})
	for i := range 8 { // as in TestHistory
		r.publish(t, "a", fmt.Sprint("a", 2*i+1))
		r.publish(t, "b", fmt.Sprint("b", 2*i+2))
	}
	foreign := cursorIn("F", map[pubsub.Topic]uint64{"a": 9, "b": 10})
	for _, c := range []struct {
		query     string
		texts     string
		cursor    map[pubsub.Topic]uint64
		recovered bool
	}{
		{"topic=a", "", map[pubsub.Topic]uint64{"a": 15}, true},
		{"topic=a&last=2", "a13 a15", map[pubsub.Topic]uint64{"a": 15}, true},
		{"topic=a&since=E:9", "a11 a13 a15", map[pubsub.Topic]uint64{"a": 15}, true},
		{"topic=a&since=E:9&last=1", "a11 a13 a15", map[pubsub.Topic]uint64{"a": 15}, true},
		{"topic=a&since=E:15&wait=0", "", map[pubsub.Topic]uint64{"a": 15}, true},
		{"topic=a&since=E:4", "", map[pubsub.Topic]uint64{"a": 15}, false},
		{"topic=a&since=E:99", "", map[pubsub.Topic]uint64{"a": 15}, false},
		{"topic=a&since=F:9", "", map[pubsub.Topic]uint64{"a": 15}, false},
		{"topic=b&topic=a&since=" + cursorOf(map[pubsub.Topic]uint64{"a": 11, "b": 12}), "b14 b16 a13 a15", map[pubsub.Topic]uint64{"a": 15, "b": 16}, true},
		{"topic=a&topic=b&since=" + cursorOf(map[pubsub.Topic]uint64{"a": 4, "b": 12}), "b14 b16", map[pubsub.Topic]uint64{"a": 15, "b": 16}, false},
		{"topic=a&topic=b&since=" + foreign, "", map[pubsub.Topic]uint64{"a": 15, "b": 16}, false},
		{"topic=a&topic=b&since=" + cursorOf(map[pubsub.Topic]uint64{"a": 13}), "a15", map[pubsub.Topic]uint64{"a": 15, "b": 16}, true},
		{"topic=a&topic=c&since=" + cursorOf(map[pubsub.Topic]uint64{"a": 15}), "", map[pubsub.Topic]uint64{"a": 15, "c": 0}, true}, // c begins
		{"topic=a&topic=b&since=" + cursorIn("F", map[pubsub.Topic]uint64{"a": 9}), "", map[pubsub.Topic]uint64{"a": 15, "b": 16}, false},
		{"topic=b&since=" + cursorIn("F", map[pubsub.Topic]uint64{"a": 9}), "", map[pubsub.Topic]uint64{"b": 16}, false},
		{"topic=a&last=2&since=" + cursorIn("F", nil), "", map[pubsub.Topic]uint64{"a": 15}, false},
		{"topic=a&last=1&since=" + cursorOf(nil), "a15", map[pubsub.Topic]uint64{"a": 15}, true}, // a begins
		{"topic=a&since=" + cursorOf(map[pubsub.Topic]uint64{"a": 13, "b": 1}), "a15", map[pubsub.Topic]uint64{"a": 15}, true},
	} {
		a := r.get(t, "/poll?"+c.query)
		if a.texts() != c.texts || a.Cursor != cursorOf(c.cursor) || a.Recovered != c.recovered {
			t.Errorf("%q: %+v; want %+v", c.query, a, c)
		}
	}
	if stats := r.topics.Stats(); stats.Topics != 2 {
		t.Errorf("after the polls there are %d topics in use, want those with messages", stats.Topics)
	}
}

func TestPollReturnsAtMostAThousand(t *testing.T) {
	r := newReader(t, 2000, httpapi.Config{})
	for i := range 600 {
		r.publish(t, "a", fmt.Sprint("a", i))
		r.publish(t, "b", fmt.Sprint("b", i))
	}
	path := "/poll?topic=b&topic=a&wait=0&since="
	first := r.get(t, path+cursorOf(map[pubsub.Topic]uint64{"a": 0, "b": 0}))
	second := r.get(t, path+first.Cursor)
	third := r.get(t, path+second.Cursor)
	if len(first.Messages) != 1000 || len(second.Messages) != 200 || len(third.Messages) != 0 || third.Cursor != second.Cursor {
		t.Fatalf("polls of %d, %d, %d messages", len(first.Messages), len(second.Messages), len(third.Messages))
	}
	all := append(first.Messages, second.Messages...)
	for i := range 600 {
		if all[i].Data != fmt.Sprint("b", i) || all[600+i].Data != fmt.Sprint("a", i) {
			t.Fatalf("message %d is %v, then %v", i, all[i].Data, all[600+i].Data)
		}
	}
}

// A waiting is a poll that runs on its own goroutine.
type waiting struct {
	answered chan struct{}
	response *response
	after    time.Duration
}

func (r *reader) wait(t *testing.T, ctx context.Context, query string) *waiting {
	w := &waiting{answered: make(chan struct{})}
	start := time.Now()
	go func() {
		defer close(w.answered)
		w.response = r.serve(t, ctx, "GET", "/poll?"+query, "Authorization", r.bearer)
		w.after = time.Since(start)
	}()
	return w
}

// wantRefused waits for the answer, and checks that it is a refusal.
func (w *waiting) wantRefused(t *testing.T, status int, code pubsub.Code) {
	t.Helper()
	<-w.answered
	w.response.want(t, status, code)
}

// want waits for the answer, and checks its time and its contents.
func (w *waiting) want(t *testing.T, after time.Duration, texts string) {
	t.Helper()
	<-w.answered
	a := parseAnswer(t, "/poll", w.response)
	if w.after != after || a.texts() != texts || !a.Recovered {
		t.Errorf("answered after %v with %q, recovered %v; want %v, %q", w.after, a.texts(), a.Recovered, after, texts)
	}
}

func TestPollWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drain := make(chan struct{})
		slots := listen.NewSlots(3, "", slog.New(slog.DiscardHandler))
		r := newReader(t, 5, httpapi.Config{
			Draining: drain,
			Clients:  slots,
		})
		both := "topic=a&topic=b&since=" + cursorOf(map[pubsub.Topic]uint64{"a": 0, "b": 0})
		r.wait(t, t.Context(), both).want(t, 25*time.Second, "")
		r.wait(t, t.Context(), both+"&wait=3").want(t, 3*time.Second, "")
		r.wait(t, t.Context(), both+"&wait=100000").want(t, 60*time.Second, "")

		// A poll waits no longer than its token allows.
		bearer := r.bearer
		until, err := r.signer.Sign(auth.Grant{Subject: "test", Scopes: []auth.Scope{auth.Subscribe}, Topics: []pubsub.Topic{"a", "b"},
			Expires: time.Now().Add(time.Hour), Until: time.Now().Add(10 * time.Second)})
		if err != nil {
			t.Fatal(err)
		}
		r.bearer = "Bearer " + string(until)
		r.wait(t, t.Context(), both).want(t, 10*time.Second, "")
		r.wait(t, t.Context(), both).wantRefused(t, 401, pubsub.TokenExpired)
		r.bearer = bearer

		w := r.wait(t, t.Context(), both)
		time.Sleep(time.Second)
		r.publish(t, "c", "not asked for")
		time.Sleep(time.Second)
		r.publish(t, "b", "b2")
		w.want(t, 2*time.Second, "b2")
		r.wait(t, t.Context(), both).want(t, 0, "b2")

		gone, leave := context.WithCancel(t.Context())
		after := "topic=b&since=E:2"
		w = r.wait(t, gone, after)
		time.Sleep(time.Second)
		leave()
		w.want(t, time.Second, "")

		if a := r.serve(t, t.Context(), "HEAD", "/poll?"+after, "Authorization", r.bearer); a.status != 200 {
			t.Errorf("HEAD = %d", a.status)
		}

		full := []*waiting{r.wait(t, t.Context(), after), r.wait(t, t.Context(), after), r.wait(t, t.Context(), after)}
		synctest.Wait()
		r.wait(t, t.Context(), after).wantRefused(t, 503, pubsub.OverCapacity)
		r.wait(t, t.Context(), after+"&wait=0").want(t, 0, "") // takes no slot
		time.Sleep(time.Second)
		close(drain)
		for _, w := range full {
			w.want(t, time.Second, "")
		}
		r.wait(t, t.Context(), after).want(t, 0, "")
		if waits := slots.Count(); waits != 0 {
			t.Errorf("%d polls still hold their slot", waits)
		}
		if stats := r.topics.Stats(); stats.Topics != 2 {
			t.Errorf("after the polls there are %d topics in use, want those with messages", stats.Topics)
		}
	})
}

// A poll for patterns gets messages with their topics, waits, and resumes with its cursor.
func TestPollPatterns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReader(t, 5, httpapi.Config{})
		granted, err := r.signer.Sign(auth.Grant{Subject: "test", Scopes: []auth.Scope{auth.Subscribe}, Patterns: []pubsub.Pattern{"room:*", "user:*"}, Expires: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		r.bearer = "Bearer " + string(granted)
		const both = "/poll?pattern=user:1:*&pattern=room:*&pattern=room:1:*&since="
		names := patterns("room:*", "user:1:*")
		cursor := func(offset uint64) string {
			return cursorOf(map[pubsub.Topic]uint64{names[0]: offset, names[1]: offset})
		}
		if first := r.get(t, both); first.Cursor != cursor(0) || !first.Recovered || first.texts() != "" {
			t.Errorf("the first poll: %+v", first)
		}
		w := r.wait(t, t.Context(), "pattern=user:1:*&pattern=room:*&pattern=room:1:*&since="+cursor(0))
		time.Sleep(time.Second)
		r.publish(t, "room", "no")
		r.publish(t, "user:2:x", "no")
		time.Sleep(time.Second)
		r.publish(t, "room:1:x", "one")
		w.want(t, 2*time.Second, "one")
		r.publish(t, "user:1:x", "two")
		r.publish(t, "room:2", "three")
		a := r.get(t, both+cursor(3))
		if a.texts() != "two three" || !a.Recovered || a.Cursor != cursorOf(map[pubsub.Topic]uint64{names[0]: 5, names[1]: 4}) {
			t.Errorf("the next poll: %+v", a)
		}
		if again := r.get(t, both+cursorIn("F", map[pubsub.Topic]uint64{names[0]: 3, names[1]: 3})); again.Recovered || again.texts() != "" {
			t.Errorf("a poll from another epoch: %+v", again)
		}
		posted := r.send(t, "/poll", `{"patterns":["room:*","room:1:*"],"since":{"room:1:*":"E:2"},"limit":1}`, "Authorization", r.bearer)
		want := `"recovered":true,"topics":{},"patterns":{"room:*":{"position":"E:2","recovered":true,"replay":1}},"messages":[{"type":"message","topic":"room:1:x","position":"E:3",`
		if !strings.Contains(posted.body, want) || !strings.HasSuffix(posted.body, "\"more\":true}\n") {
			t.Errorf("POST is answered with %s, want %s…", posted.body, want)
		}
		for path, code := range map[string]pubsub.Code{"/poll?pattern=roo*": pubsub.TopicDenied, "/poll?pattern=room:*&pattern=*": pubsub.TopicDenied, "/poll?pattern=room": pubsub.TopicInvalid} {
			if res := r.serve(t, t.Context(), "GET", path, "Authorization", r.bearer); !strings.Contains(res.body, string(code)) {
				t.Errorf("%s: %s, want %s", path, res.body, code)
			}
		}
	})
}

// A poll that meets a marker says that messages are missing, and continues from the head.
func TestPollAtAMarker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReader(t, 9, httpapi.Config{})
		r.publish(t, "a", "a1")
		r.publish(t, "a", "a2")
		w := r.wait(t, t.Context(), "topic=a&since=E:2")
		time.Sleep(time.Second)
		r.topics.Gap("a", pubsub.Position{Epoch: "E", Offset: 10})
		<-w.answered
		if a := parseAnswer(t, "/poll", w.response); w.after != time.Second || a.Recovered || a.Cursor != cursorOf(map[pubsub.Topic]uint64{"a": 10}) || a.texts() != "" {
			t.Errorf("after %v: %+v", w.after, a)
		}

		w = r.wait(t, t.Context(), "topic=a&since=E:10")
		synctest.Wait()
		r.topics.Append([]pubsub.Message{{Topic: "a", Position: pubsub.Position{Epoch: "E", Offset: 11}, Time: time.Now(), Body: pubsub.Body{Data: []byte("a11")}}})
		r.topics.Gap("a", pubsub.Position{Epoch: "F", Offset: 20})
		w.want(t, 0, "a11") // up to the marker
		if a := parseAnswer(t, "/poll", w.response); !a.More {
			t.Errorf("%+v; want it to have more", a)
		}
		for _, query := range []string{"since=E:11", "since=E:1", "since=" + cursorOf(map[pubsub.Topic]uint64{"a": 11})} {
			if a := r.get(t, "/poll?topic=a&"+query); a.Recovered || a.Cursor != cursorIn("F", map[pubsub.Topic]uint64{"a": 20}) || a.texts() != "" {
				t.Errorf("%s: %+v", query, a)
			}
		}
		for _, query := range []string{"since=F:20&wait=0", "", "last=5"} {
			if a := r.get(t, "/poll?topic=a&"+query); !a.Recovered || a.Cursor != cursorIn("F", map[pubsub.Topic]uint64{"a": 20}) || a.texts() != "" {
				t.Errorf("%s: %+v", query, a)
			}
		}
	})
}

// Whatever the parameters, a poll's answer is true. While recovered is true, the client
// gets each message once and in order. It is false only if messages are missing.
func TestPollerAgainstModel(t *testing.T) {
	names := []pubsub.Topic{"a", "b", "c"}
	const keep = 4
	rapid.Check(t, func(rt *rapid.T) {
		r := newReader(t, keep, httpapi.Config{})
		published := make(map[pubsub.Topic][]uint64)
		offsets := make(map[pubsub.Topic]uint64) // of the topics in cursor
		cursor := ""
		publish := func() {
			topic := rapid.SampledFrom(names).Draw(rt, "topic")
			published[topic] = append(published[topic], r.publish(t, topic, "x"))
		}
		poll := func() {
			asked := rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, 3, rapid.ID).Draw(rt, "asked")
			path := "/poll?wait=0"
			for _, topic := range asked {
				path += "&topic=" + string(topic)
			}
			if cursor != "" {
				path += "&since=" + cursor
			}
			a := r.get(t, path)
			var want []string
			recovered := true
			next := make(map[pubsub.Topic]uint64)
			for _, topic := range asked {
				all := published[topic]
				head := uint64(0)
				if len(all) > 0 {
					head = all[len(all)-1]
				}
				since, has := offsets[topic]
				next[topic] = head
				if gone := len(all) - keep; has && gone > 0 && since < all[gone-1] {
					recovered = false
					continue
				}
				for _, offset := range all {
					if has && offset > since {
						want = append(want, string(topic)+strconv.FormatUint(offset, 10))
					}
				}
			}
			var got []string
			for _, m := range a.Messages {
				got = append(got, m.Topic+strings.TrimPrefix(m.Position, "E:"))
			}
			if !slices.Equal(got, want) || a.Recovered != recovered || a.Cursor != cursorOf(next) {
				rt.Fatalf("%s at %v: %v, recovered %v; want %v, %v", path, offsets, got, a.Recovered, want, recovered)
			}
			cursor, offsets = a.Cursor, next
		}
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			if rapid.Bool().Draw(rt, "publish") {
				publish()
			} else {
				poll()
			}
		}
	})
}

// A poll waits no longer than its token allows, even if the clock is set meanwhile.
func TestPollWhenTheClockIsSet(t *testing.T) {
	for set, want := range map[time.Duration]time.Duration{
		0:                 time.Minute,
		-time.Hour:        time.Minute,
		50 * time.Second:  time.Minute,
		119 * time.Second: 5 * time.Second,
		2 * time.Hour:     5 * time.Second,
	} {
		synctest.Test(t, func(t *testing.T) {
			var ahead atomic.Int64
			r := newReader(t, 5, httpapi.Config{Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
			until, err := r.signer.Sign(auth.Grant{Subject: "test", Scopes: []auth.Scope{auth.Subscribe}, Topics: []pubsub.Topic{"a"},
				Expires: time.Now().Add(time.Hour), Until: time.Now().Add(2 * time.Minute)})
			if err != nil {
				t.Fatal(err)
			}
			r.bearer = "Bearer " + string(until)
			w := r.wait(t, t.Context(), "topic=a&wait=60&since=E:0")
			synctest.Wait()
			ahead.Store(int64(set))
			w.want(t, want, "")
		})
	}
}
