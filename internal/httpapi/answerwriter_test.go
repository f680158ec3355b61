package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/httpapi"
	"github.com/ikornaselur/notiflux/internal/presence"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// awkward is a string that becomes six times as long in JSON.
func awkward(n int) string { return strings.Repeat("\x01", n) }

// A poll of busy topics also gets the message of the quiet one, and each message once.
func TestPollLeavesNoTopicOut(t *testing.T) {
	r := newReader(t, 1000, httpapi.Config{})
	cursor := r.get(t, "/poll?topic=a&topic=b&topic=c").Cursor
	r.publish(t, "c", "quiet")
	given := map[string]int{}
	for range 6 {
		for range 9 {
			r.publish(t, "a", strings.Repeat("m", 60_000))
			r.publish(t, "b", strings.Repeat("m", 60_000))
		}
		a := r.get(t, "/poll?topic=a&topic=b&topic=c&wait=0&since="+cursor)
		if !a.Recovered {
			t.Fatal("not recovered")
		}
		for _, m := range a.Messages {
			given[m.Topic]++
		}
		cursor = a.Cursor
	}
	if given["c"] != 1 {
		t.Fatalf("six polls returned %v", given)
	}
	for a := (answer{More: true}); a.More; cursor = a.Cursor {
		a = r.get(t, "/poll?topic=a&topic=b&topic=c&wait=0&since="+cursor)
		for _, m := range a.Messages {
			given[m.Topic]++
		}
	}
	if fmt.Sprint(given) != "map[a:54 b:54 c:1]" {
		t.Errorf("all polls together returned %v", given)
	}
}

func TestPollWithALimit(t *testing.T) {
	r := newReader(t, 1000, httpapi.Config{})
	for i := range 3 {
		r.publish(t, "a", fmt.Sprint("a", i))
		r.publish(t, "b", fmt.Sprint("b", i))
	}
	start := cursorOf(map[pubsub.Topic]uint64{"a": 0, "b": 0})
	for _, c := range []struct {
		query, texts string
		more         bool
	}{
		{"topic=a&topic=b", "a0 a1 a2 b0 b1 b2", false},
		{"topic=a&topic=b&limit=6", "a0 a1 a2 b0 b1 b2", false},
		{"topic=a&topic=b&limit=5", "a0 a1 a2 b0 b1", true},
		{"topic=b&topic=a&limit=1", "a0", true}, // the topic whose message has waited longest
		{"topic=b&topic=a&limit=0", "", true},
		{"topic=b&topic=a&limit=1000000", "b0 b1 b2 a0 a1 a2", false},
	} {
		if a := r.get(t, "/poll?"+c.query+"&since="+start); a.texts() != c.texts || a.More != c.more || !a.Recovered {
			t.Errorf("%s: %q, more %t; want %q, %t", c.query, a.texts(), a.More, c.texts, c.more)
		}
	}
	// One at a time, messages come in the order in which they were published.
	var all []string
	for cursor, more := start, true; more; {
		a := r.get(t, "/poll?topic=b&topic=a&limit=1&since="+cursor)
		all = append(all, a.texts())
		cursor, more = a.Cursor, a.More
	}
	if got := strings.Join(all, " "); got != "a0 b0 a1 b1 a2 b2" {
		t.Errorf("one at a time: %s", got)
	}
	if a := r.get(t, "/poll?topic=a&limit=0&wait=0&since=E:5"); a.More || a.texts() != "" {
		t.Errorf("limit 0: %+v", a)
	}
	for _, query := range []string{"limit=x", "limit=", "limit=-1", "limit=1&limit=1"} {
		r.serve(t, t.Context(), "GET", "/poll?topic=a&"+query, "Authorization", r.bearer).want(t, 400, pubsub.Malformed)
	}
}

// An answer is limited by its encoded size, and says that there is more.
func TestAnswersAreBoundedByTheirEncodedBytes(t *testing.T) {
	r := newReader(t, 1000, httpapi.Config{})
	const n, size = 40, 20_000
	for range n {
		r.publish(t, "a", awkward(size))
	}
	r.publish(t, "b", strings.Repeat("x", 2<<20))
	r.publish(t, "b", "next")
	for name, path := range map[string]func(answer) string{
		"history": func(a answer) string { return "/history?topic=a&limit=1000&since=" + a.Position },
		"poll":    func(a answer) string { return "/poll?topic=a&since=" + a.Cursor },
	} {
		got, pages := 0, 0
		for a := (answer{Cursor: "E:0", Position: "E:0", More: true}); a.More; pages++ {
			res := r.serve(t, t.Context(), "GET", path(a), "Authorization", r.bearer)
			if most := 1<<20 + 6*size + 1000; len(res.body) > most || res.header.Get("Content-Length") != fmt.Sprint(len(res.body)) {
				t.Fatalf("%s: %d bytes, more than %d; Content-Length %s", name, len(res.body), most, res.header.Get("Content-Length"))
			}
			a = parseAnswer(t, name, res)
			got += len(a.Messages)
		}
		if got != n || pages != 5 {
			t.Errorf("%s: %d messages in %d pages", name, got, pages)
		}
	}
	// One message always fits.
	if a := r.get(t, fmt.Sprintf("/history?topic=b&since=E:%d", n)); len(a.Messages) != 1 || !a.More {
		t.Errorf("a message over the limit: %d messages, more %t", len(a.Messages), a.More)
	}
}

// A slowWriter is a response whose client reads as slowly as the test says.
type slowWriter struct {
	*httptest.ResponseRecorder
	write func(p []byte) (int, error)

	deadlines chan time.Time // the newest one that no write has seen
}

func newSlowWriter() *slowWriter {
	return &slowWriter{ResponseRecorder: httptest.NewRecorder(), deadlines: make(chan time.Time, 1)}
}

func (w *slowWriter) Write(p []byte) (int, error) { return w.write(p) }

func (w *slowWriter) SetWriteDeadline(at time.Time) error {
	select {
	case <-w.deadlines:
	default:
	}
	w.deadlines <- at
	return nil
}

// wait blocks a write until its deadline, or until after has passed.
func (w *slowWriter) wait(after time.Duration) error {
	enough := time.After(after)
	deadline := make(<-chan time.Time)
	for {
		select {
		case at := <-w.deadlines:
			deadline = time.After(time.Until(at))
		case <-deadline:
			return os.ErrDeadlineExceeded
		case <-enough:
			return nil
		}
	}
}

// serveTo answers a request over HTTP/2 with w, and reports whether the answer was aborted.
func (r *reader) serveTo(ctx context.Context, w http.ResponseWriter, path string) (broken bool) {
	request := httptest.NewRequestWithContext(ctx, "GET", path, nil)
	request.Proto, request.ProtoMajor, request.ProtoMinor = "HTTP/2.0", 2, 0
	request.Header.Set("Authorization", r.bearer)
	defer func() {
		if v := recover(); v != nil {
			if v != http.ErrAbortHandler {
				panic(v)
			}
			broken = true
		}
	}()
	r.handler.ServeHTTP(w, request)
	return false
}

// A read that the client cancels costs no more than one piece of the answer.
func TestACancelledReadStops(t *testing.T) {
	members := presence.New(presence.Config{})
	for i := range 1000 {
		members.Join("a", pubsub.Member{Sub: fmt.Sprint(i), Info: []byte(`"` + strings.Repeat("i", 1000) + `"`)})
	}
	r := newReader(t, 1000, httpapi.Config{Presence: members})
	for range 20 {
		r.publish(t, "a", awkward(60_000))
	}
	for _, path := range []string{"/history?topic=a", "/poll?topic=a&since=E:0", "/presence?topic=a"} {
		ctx, cancel := context.WithCancel(t.Context())
		written := 0
		w := newSlowWriter()
		w.write = func(p []byte) (int, error) {
			cancel()
			written += len(p)
			return len(p), nil
		}
		r.serveTo(ctx, w, path)
		if written == 0 || written > 64<<10 {
			t.Errorf("%s: %d bytes were encoded for a client that disconnected", path, written)
		}
		written = 0
		r.serveTo(ctx, w, path)
		if written != 0 {
			t.Errorf("%s: %d bytes were encoded for a client that had disconnected", path, written)
		}
		failing := newSlowWriter()
		failing.write = func(p []byte) (int, error) {
			written += len(p)
			return 0, errors.New("the connection is gone")
		}
		r.serveTo(t.Context(), failing, path)
		if written > 64<<10 {
			t.Errorf("%s: %d bytes were encoded for a connection that broke", path, written)
		}
	}
}

// The time limit for an answer starts again with each piece that the client reads.
func TestASlowReaderHasTimeForEachPiece(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReader(t, 1000, httpapi.Config{})
		for range 10 {
			r.publish(t, "a", strings.Repeat("x", 60_000))
		}
		w := newSlowWriter()
		w.write = func(p []byte) (int, error) {
			if err := w.wait(20 * time.Second * time.Duration(len(p)) / (16 << 10)); err != nil {
				return 0, err
			}
			return w.ResponseRecorder.Write(p)
		}
		r.serveTo(t.Context(), w, "/history?topic=a")
		if length := w.Header().Get("Content-Length"); length != fmt.Sprint(w.Body.Len()) {
			t.Errorf("%d bytes of %s for a slow client", w.Body.Len(), length)
		}
		stuck := newSlowWriter()
		stuck.write = func([]byte) (int, error) { return 0, stuck.wait(time.Hour) }
		began := time.Now()
		r.serveTo(t.Context(), stuck, "/history?topic=a")
		if took := time.Since(began); took > time.Minute {
			t.Errorf("a client that reads nothing had %v", took)
		}
	})
}

// A shutdown waits for a client that reads its answer, and only 5 s for one that does not.
func TestAShutdownDoesNotWaitForAnUnreadAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		draining := make(chan struct{})
		r := newReader(t, 1000, httpapi.Config{Draining: draining})
		for range 10 {
			r.publish(t, "a", strings.Repeat("x", 60_000))
		}
		publisher := "Bearer " + token(t, r.signer, auth.Broadcast, "a")
		stuck := func(serve func(w http.ResponseWriter)) chan time.Duration {
			w := newSlowWriter()
			w.write = func([]byte) (int, error) { return 0, w.wait(time.Hour) }
			done := make(chan time.Duration, 1)
			go func() {
				began := time.Now()
				serve(w)
				done <- time.Since(began)
			}()
			return done
		}
		answers := map[string]chan time.Duration{
			"history": stuck(func(w http.ResponseWriter) { r.serveTo(t.Context(), w, "/history?topic=a") }),
			"broadcast": stuck(func(w http.ResponseWriter) {
				request := httptest.NewRequest("POST", "/broadcast", strings.NewReader(`[{"topic":"a","message":1}]`))
				request.Header.Set("Authorization", publisher)
				r.handler.ServeHTTP(w, request)
			}),
		}
		slow := newSlowWriter()
		slow.write = func(p []byte) (int, error) {
			if err := slow.wait(3 * time.Second); err != nil {
				return 0, err
			}
			return slow.ResponseRecorder.Write(p)
		}
		read := make(chan struct{})
		go func() {
			defer close(read)
			r.serveTo(t.Context(), slow, "/history?topic=a")
		}()
		time.Sleep(10 * time.Second)
		close(draining)
		for name, done := range answers {
			if took := <-done; took < 15*time.Second || took > 17*time.Second {
				t.Errorf("%s: the shutdown began after 10 s, and the answer was aborted after %v", name, took)
			}
		}
		<-read
		if length := slow.Header().Get("Content-Length"); length != fmt.Sprint(slow.Body.Len()) {
			t.Errorf("%d bytes of %s for a slow client", slow.Body.Len(), length)
		}
	})
}

// An unread answer keeps at most the lag limit of messages that its topic has dropped.
func TestAnUnreadAnswerDoesNotKeepABusyTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReader(t, 10, httpapi.Config{MaxLagBytes: 100_000})
		publish := func() {
			for range 10 {
				r.publish(t, "a", strings.Repeat("x", 20_000))
			}
		}
		publish()
		w := newSlowWriter()
		w.write = func([]byte) (int, error) { return 0, w.wait(time.Hour) }
		done := make(chan time.Duration)
		go func() {
			began := time.Now()
			r.serveTo(t.Context(), w, "/history?topic=a")
			done <- time.Since(began)
		}()
		time.Sleep(5 * time.Second)
		publish()
		if took := <-done; took < 5*time.Second || took > 10*time.Second {
			t.Errorf("the answer was aborted after %v", took)
		}
	})
}

// The buffer of a failed write is not used again: HTTP/2 may still be reading it, and would
// send one client's data to another.
func TestBufferOfAFailedWriteIsNotReused(t *testing.T) {
	r := newReader(t, 1000, httpapi.Config{})
	publisher := "Bearer " + token(t, r.signer, auth.Broadcast, "a")
	for range 20 {
		r.publish(t, "a", strings.Repeat("x", 1000))
	}
	serve := func(w http.ResponseWriter, request *http.Request, bearer string) {
		request.Header.Set("Authorization", bearer)
		r.handler.ServeHTTP(w, request)
	}
	for name, ask := range map[string]func(w http.ResponseWriter, n int){
		"history": func(w http.ResponseWriter, n int) {
			serve(w, httptest.NewRequest("GET", fmt.Sprint("/history?topic=a&since=E:", n), nil), r.bearer)
		},
		"broadcast": func(w http.ResponseWriter, n int) {
			body := strings.Repeat(fmt.Sprintf(`{"topic":"a","message":%d},`, n), 50)
			serve(w, httptest.NewRequest("POST", "/broadcast", strings.NewReader("["+strings.TrimSuffix(body, ",")+"]")), publisher)
		},
	} {
		w := newSlowWriter()
		var given []byte
		w.write = func(p []byte) (int, error) {
			given = p
			return 0, errors.New("the stream was reset")
		}
		ask(w, 1)
		before := string(given)
		for range 10 {
			ask(httptest.NewRecorder(), 2)
		}
		if len(before) == 0 || string(given) != before {
			t.Errorf("%s: the buffer of a failed write was reused", name)
		}
	}
}
