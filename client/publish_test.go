package client_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/client"
)

// A script answers successive calls to a fake.
type script struct {
	t      testing.TB
	mu     sync.Mutex
	steps  []func(http.ResponseWriter, *http.Request)
	calls  []string // METHOD address body
	tokens []string
	times  []time.Time
}

// scripted makes f answer plain requests with steps; the last step repeats.
func scripted(f *fake, steps ...func(http.ResponseWriter, *http.Request)) *script {
	s := &script{t: f.t, steps: steps}
	f.plain = func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.calls = append(s.calls, strings.TrimSpace(r.Method+" "+r.URL.String()+" "+string(body)))
		s.tokens = append(s.tokens, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		s.times = append(s.times, time.Now())
		step := s.steps[0]
		if len(s.steps) > 1 {
			s.steps = s.steps[1:]
		}
		s.mu.Unlock()
		step(w, r)
	}
	return s
}

// answer answers with a status and a body, or a problem if the body is a code.
func answer(status int, body string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		if body != "" && !strings.ContainsAny(body, "<{[") {
			body = fmt.Sprintf(`{"code":%q,"detail":"so it is"}`, body)
		}
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

func later(status int, after, code string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", after)
		answer(status, code)(w, r)
	}
}

// hangUp breaks the connection instead of answering.
func hangUp(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// hang answers only when nobody is waiting.
func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// newCaller returns a client of f with an hour for each call.
func newCaller(f *fake, o client.Options) *client.Client {
	o.Timeout = time.Hour
	return f.new(o)
}

// value returns a message to publish as JSON.
func value(v any) client.Publication { return client.Publication{Topic: "a", JSON: v} }

// publish publishes one message as its fields ask for.
func publish(ctx context.Context, c *client.Client, p client.Publication) (client.Position, error) {
	switch {
	case p.Key != "" || p.Exclude != "":
		r := c.PublishAll(ctx, []client.Publication{p})[0]
		return r.Position, r.Err
	case p.Data != nil:
		return c.Publish(ctx, p.Topic, p.Data)
	}
	return c.PublishJSON(ctx, p.Topic, p.JSON)
}

const published = `{"topic":"a","position":"E:7"}`

func TestPublishTriesAgainWithOneKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		s := scripted(f, hangUp, later(503, "7", "over_capacity"), answer(500, "internal"), later(429, "3", "too_many"),
			answer(502, "<html>"), hang, answer(503, "outcome_unknown"), answer(200, published))
		c := newCaller(f, client.Options{Token: "secret"})
		got, err := publish(t.Context(), c, value(map[string]any{"x": "<1>"}))
		if want := client.Position("E:7"); err != nil || got != want {
			t.Fatalf("Publish = %v, %v; want %v", got, err, want)
		}
		if len(s.calls) != 8 {
			t.Fatalf("%d calls, want 8: %q", len(s.calls), s.calls)
		}
		for n, call := range s.calls {
			if call != s.calls[0] || s.tokens[n] != "secret" {
				t.Errorf("call %d is %s with token %q, want %s", n, call, s.tokens[n], s.calls[0])
			}
		}
		var body struct{ Key string }
		if err := json.Unmarshal([]byte(strings.TrimPrefix(s.calls[0], "POST /broadcast ")), &body); err != nil || len(body.Key) < 22 {
			t.Errorf("%s has the key %q, want a random one", s.calls[0], body.Key)
		}
		if want := fmt.Sprintf(`POST /broadcast {"topic":"a","message":{"x":"<1>"},"key":%q}`, body.Key); s.calls[0] != want {
			t.Errorf("got  %s\nwant %s", s.calls[0], want)
		}
		for n, least := range map[int]time.Duration{2: 7 * time.Second, 4: 3 * time.Second, 6: 15 * time.Second} {
			if got := s.times[n].Sub(s.times[n-1]); got < least || got > least+16*time.Second {
				t.Errorf("attempt %d came after %v, want a little more than %v", n, got, least)
			}
		}
	})
}

// Without retries a message needs no key, and the call returns the first failure.
func TestWithoutRetriesThereIsNoKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		s := scripted(f, answer(200, published), later(503, "7", "over_capacity"), answer(200, "["+published+"]"), answer(503, "draining"), answer(200, "["+published+"]"))
		c := newCaller(f, client.Options{NoRetry: true})
		message := value(1)
		if _, err := publish(t.Context(), c, message); err != nil {
			t.Error(err)
		}
		if _, err := publish(t.Context(), c, message); !hasCode(err, "over_capacity") {
			t.Errorf("Publish = %v, want %s", err, "over_capacity")
		}
		if r := c.PublishAll(t.Context(), []client.Publication{message}); r[0].Err != nil {
			t.Error(r[0].Err)
		}
		if r := c.PublishAll(t.Context(), []client.Publication{message}); !hasCode(r[0].Err, "draining") {
			t.Errorf("PublishAll = %v, want %s", r[0].Err, "draining")
		}
		message.Key = "k"
		if _, err := publish(t.Context(), c, message); err != nil {
			t.Error(err)
		}
		const without, with = `{"topic":"a","message":1}`, `{"topic":"a","message":1,"key":"k"}`
		want := []string{"POST /broadcast " + without, "POST /broadcast " + without, "POST /broadcast [" + without + "]", "POST /broadcast [" + without + "]", "POST /broadcast [" + with + "]"}
		if !slices.Equal(s.calls, want) {
			t.Errorf("calls are %q, want %q", s.calls, want)
		}
	})
}

// Data is published as a string, even if it is empty.
func TestPublishBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		s := scripted(f, answer(200, published))
		c := newCaller(f, client.Options{NoRetry: true})
		for _, data := range [][]byte{nil, {}, []byte("<é>"), []byte(`{"x":1}`)} {
			if _, err := c.Publish(t.Context(), "a", data); err != nil {
				t.Error(err)
			}
		}
		want := []string{`""`, `""`, `"<é>"`, `"{\"x\":1}"`}
		for n, call := range s.calls {
			if call != fmt.Sprintf(`POST /broadcast {"topic":"a","message":%s}`, want[n]) {
				t.Errorf("call %d is %s, want the message %s", n, call, want[n])
			}
		}
	})
}

func hasCode(err error, code string) bool {
	refusal, ok := errors.AsType[*client.Error](err)
	return ok && refusal.Code == code
}

func TestPublishFails(t *testing.T) {
	tests := []struct {
		name  string
		b     client.Publication
		step  func(http.ResponseWriter, *http.Request)
		code  string // empty: no notiflux server says it
		want  string
		calls int
	}{
		{"denied", client.Publication{Topic: "a"}, answer(403, "topic_denied"), "topic_denied", `publish to "a": topic_denied: so it is`, 1},
		{"too large", client.Publication{Topic: "a"}, answer(413, "too_large"), "too_large", `publish to "a": too_large: so it is`, 1},
		{"another's key", client.Publication{Topic: "a", Key: "k"}, answer(409, "key_reused"), "key_reused", `publish to "a": key_reused: so it is`, 1},
		{"no token source", client.Publication{Topic: "a"}, answer(401, "token_expired"), "token_expired", `publish to "a": token_expired: so it is`, 1},
		{"elsewhere", client.Publication{Topic: "a"}, answer(404, "<html>"), "", `publish to "a": the server answered with status 404`, 1},
		{"no server", client.Publication{Topic: "a"}, answer(200, "<html>"), "", `publish to "a": the server does not speak notiflux.v1.json`, 1},
		{"no topic", client.Publication{}, nil, "", `publish to "": the topic is empty`, 0},
		{"no JSON", client.Publication{Topic: "a", JSON: json.RawMessage("{")}, nil, "", `publish to "a": json: error calling MarshalJSON for type json.RawMessage: unexpected end of JSON input`, 0},
		{"not UTF-8", client.Publication{Topic: "a", Data: []byte("\xff")}, nil, "", `publish to "a": the message is not UTF-8; publish binary data as text, for example as base64`, 0},
		{"no value", value(func() {}), nil, "", `publish to "a": json: unsupported type: func()`, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				s := scripted(f, tt.step)
				_, err := publish(t.Context(), newCaller(f, client.Options{}), tt.b)
				if err == nil || err.Error() != tt.want || len(s.calls) != tt.calls {
					t.Errorf("Publish = %v after %d calls; want %s after %d", err, len(s.calls), tt.want, tt.calls)
				}
				if refusal, ok := errors.AsType[*client.Error](err); tt.code != "" && !ok || ok && refusal.Code != tt.code {
					t.Errorf("Publish = %v, want the code %q", err, tt.code)
				}
			})
		})
	}
}

// The server remembers a key for two minutes. After that, a message that may have been
// published is not published again.
func TestPublishDoesNotOutliveItsKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		s := scripted(f, later(503, "200", "over_capacity"), hang)
		began := time.Now()
		_, err := publish(t.Context(), newCaller(f, client.Options{}), value(nil))
		s.mu.Lock()
		defer s.mu.Unlock()
		refusal, ok := errors.AsType[*client.Error](err)
		if !ok || refusal.Code != "outcome_unknown" {
			t.Errorf("Publish = %v, want that its outcome is unknown", err)
		}
		if s.times[1].Sub(began) < 200*time.Second {
			t.Errorf("a refusal counted as publishing")
		}
		if last := time.Now(); last.Sub(s.times[1]) > 2*time.Minute || last.Sub(s.times[1]) < time.Minute {
			t.Errorf("it was given up %v after the attempt that may have succeeded, want something below 2 minutes", last.Sub(s.times[1]))
		}
	})
}

func TestPublishEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		scripted(f, answer(503, "unavailable"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		began := time.Now()
		_, err := publish(ctx, newCaller(f, client.Options{}), value(nil))
		if !errors.Is(err, context.DeadlineExceeded) || !strings.HasSuffix(err.Error(), "unavailable: so it is") || time.Since(began) != time.Hour {
			t.Errorf("Publish = %v after %v, want that an hour is over and why", err, time.Since(began))
		}

		// A server that cannot be reached has published nothing, however long that takes.
		unreached := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("refused") }}}
		c, err := client.New(base, client.Options{HTTPClient: unreached})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if _, err := publish(ctx, c, value(nil)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Publish = %v, want that its time is over", err)
		}
	})
}

// TLS errors do not disappear by waiting.
func TestCallsDoNotRetryBrokenTLS(t *testing.T) {
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })
	secure := func(change func(*tls.Config)) *httptest.Server {
		s := httptest.NewUnstartedServer(hello)
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.TLS = &tls.Config{}
		change(s.TLS)
		s.StartTLS()
		t.Cleanup(s.Close)
		return s
	}
	plain := httptest.NewServer(hello)
	t.Cleanup(plain.Close)
	foreign := secure(func(*tls.Config) {})
	strict := secure(func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert })
	old := secure(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS10 })
	trusting := func(s *httptest.Server) *http.Client { return s.Client() }
	for name, c := range map[string]struct {
		url  string
		http *http.Client // nil: the client's own
	}{
		"a certificate of an unknown authority": {foreign.URL, nil},
		"a certificate for another name":        {strings.Replace(foreign.URL, "127.0.0.1", "localhost", 1), trusting(foreign)},
		"a server that speaks no TLS":           {strings.Replace(plain.URL, "http://", "https://", 1), nil},
		"a server that wants a certificate":     {strict.URL, trusting(strict)},
		"a server of another version":           {old.URL, trusting(old)},
	} {
		t.Run(name, func(t *testing.T) {
			attempts := 0
			caller, err := client.NewForTest(c.url, client.Options{Token: "t", HTTPClient: c.http}, func(int) time.Duration {
				attempts++
				return 0
			})
			if err != nil {
				t.Fatal(err)
			}
			defer caller.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if _, err := caller.Publish(ctx, "t", []byte("m")); err == nil || attempts > 0 || ctx.Err() != nil {
				t.Errorf("Publish = %v after %d retries, want an error at once", err, attempts)
			}
		})
	}
}

func TestCallsRenewTheToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		var calls atomic.Int32
		o := client.Options{TokenSource: func(context.Context, client.TokenRequest) (string, error) {
			return string(fmt.Sprint("secret", calls.Add(1))), nil
		}}
		s := scripted(f, answer(401, "token_expired"), answer(200, published), answer(401, "token_invalid"))
		c := newCaller(f, o)
		if _, err := publish(t.Context(), c, value(nil)); err != nil {
			t.Error(err)
		}
		_, err := publish(t.Context(), c, value(nil))
		if refusal, ok := errors.AsType[*client.Error](err); !ok || refusal.Code != "token_invalid" {
			t.Errorf("Publish = %v, want token_invalid", err)
		}
		if got := strings.Join(s.tokens, " "); got != "secret1 secret2 secret2 secret3" {
			t.Errorf("the tokens were %s", got)
		}

		failing := newCaller(f, client.Options{TokenSource: func(context.Context, client.TokenRequest) (string, error) { return "", errors.New("not now") }})
		if _, err := publish(t.Context(), failing, value(nil)); err == nil || err.Error() != `publish to "a": get a token: not now` {
			t.Errorf("Publish = %v, want the error of the source", err)
		}
	})
}

func TestPublishAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		var calls atomic.Int32
		s := scripted(f,
			hangUp,
			answer(207, `[{"topic":"a","position":"E:1"},{"topic":"b","error":{"code":"topic_denied","message":"no"}},{"topic":"c","error":{"code":"unavailable","message":"later"}},{"topic":"d","error":{"code":"token_expired","message":"no"}}]`),
			answer(207, `[{"topic":"b","error":{"code":"topic_denied","message":"no"}}]`),
			answer(207, `[{"topic":"c","error":{"code":"outcome_unknown","message":"later"}},{"topic":"d","error":{"code":"token_expired","message":"no"}}]`),
			answer(200, `[{"topic":"c","position":"E:2"}]`))
		c := newCaller(f, client.Options{TokenSource: func(context.Context, client.TokenRequest) (string, error) {
			return fmt.Sprint(calls.Add(1)), nil
		}})
		var list []client.Publication
		for _, topic := range []string{"a", "b", "", "c", "d"} {
			list = append(list, client.Publication{Topic: topic, JSON: 1, Key: "k", Exclude: "00"})
		}
		var got []string
		for _, r := range c.PublishAll(t.Context(), list) {
			got = append(got, fmt.Sprint(r.Position, " ", r.Err))
		}
		want := []string{"E:1 <nil>", ` publish to "b": outcome_unknown: no answer came while the server knew the key of the message; it may have been published: topic_denied: no`, ` publish to "": the topic is empty`, "E:2 <nil>", ` publish to "d": outcome_unknown: no answer came while the server knew the key of the message; it may have been published: token_expired: no`}
		if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		element := func(topic string) string {
			return fmt.Sprintf(`{"topic":%q,"message":1,"key":"k","exclude":"00"}`, topic)
		}
		wantCalls := []string{
			"POST /broadcast [" + element("a") + "," + element("b") + "," + element("c") + "," + element("d") + "]", "",
			"POST /broadcast [" + element("b") + "]",
			"POST /broadcast [" + element("c") + "," + element("d") + "]",
			"POST /broadcast [" + element("c") + "]",
		}
		wantCalls[1] = wantCalls[0]
		if fmt.Sprintf("%q", s.calls) != fmt.Sprintf("%q", wantCalls) {
			t.Errorf("got  %q\nwant %q", s.calls, wantCalls)
		}
		if got := strings.Join(s.tokens, " "); got != "1 1 2 3 3" {
			t.Errorf("the tokens were %s", got)
		}
	})
}

func TestPublishAllGoesInParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		var sizes []int
		next := 0
		f.plain = func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			var list []struct{ Message string }
			if err := json.Unmarshal(body, &list); err != nil || len(list) > 1000 || len(body) > 1<<20 {
				t.Errorf("%d messages in %d bytes: %v", len(list), len(body), err)
			}
			if len(body) > 900000 {
				answer(413, "too_large")(w, r) // the server is set to take less
				return
			}
			sizes = append(sizes, len(list))
			var answers []string
			for range list {
				next++
				answers = append(answers, fmt.Sprintf(`{"topic":"a","position":"E:%d"}`, next))
			}
			fmt.Fprintf(w, "[%s]", strings.Join(answers, ","))
		}
		var list []client.Publication
		for n := range 2500 {
			message := "x"
			if n < 30 {
				message = strings.Repeat("x", 60000)
			}
			list = append(list, client.Publication{Topic: "a", Data: []byte(message)})
		}
		for at, r := range newCaller(f, client.Options{}).PublishAll(t.Context(), list) {
			if r.Err != nil || r.Position != client.Position(fmt.Sprint("E:", at+1)) {
				t.Fatalf("result %d is %v, %v", at, r.Position, r.Err)
			}
		}
		if len(sizes) > 6 {
			t.Errorf("the parts were of %v messages", sizes)
		}
		if got := newCaller(f, client.Options{}).PublishAll(t.Context(), nil); len(got) != 0 {
			t.Errorf("PublishAll of nothing = %v", got)
		}
	})
}

func TestHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		s := scripted(f, hangUp, answer(200, `{"messages":[`+message("two words", 42, `{"x":1}`)+`],"position":"E:42","recovered":false,"more":true}`),
			answer(200, `{"messages":[],"position":"E:60","recovered":true,"more":false}`), answer(403, "topic_denied"))
		c := newCaller(f, client.Options{Token: "secret"})
		got, err := c.History(t.Context(), "two words", client.HistoryOptions{Since: "E:1", Limit: 1})
		if err != nil || len(got.Messages) != 1 || describe(got.Messages[0], nil) != `message two words E:42 {"x":1}` || got.Position != "E:42" || got.Recovered || !got.More {
			t.Errorf("History = %+v, %v", got, err)
		}
		if got, err := c.History(t.Context(), "a", client.HistoryOptions{}); err != nil || len(got.Messages) != 0 || !got.Recovered || got.More {
			t.Errorf("History = %+v, %v", got, err)
		}
		if _, err := c.History(t.Context(), "a", client.HistoryOptions{}); err == nil || err.Error() != `history of "a": topic_denied: so it is` {
			t.Errorf("History = %v", err)
		}
		if _, err := c.History(t.Context(), "", client.HistoryOptions{}); err == nil || err.Error() != `history of "": the topic is empty` {
			t.Errorf("History = %v", err)
		}
		if _, err := c.History(t.Context(), "a", client.HistoryOptions{Limit: -1}); err == nil || err.Error() != `history of "a": Limit is -1; use 0 or a larger number` {
			t.Errorf("History = %v", err)
		}
		if got, want := strings.Join(s.calls, "\n"), "GET /history?limit=1&since=E%3A1&topic=two+words\nGET /history?limit=1&since=E%3A1&topic=two+words\nGET /history?topic=a\nGET /history?topic=a"; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
}

func TestPosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		s := scripted(f, answer(200, `{"messages":[],"position":"E:60","recovered":true,"more":false}`), answer(403, "topic_denied"))
		c := newCaller(f, client.Options{})
		got, err := c.Position(t.Context(), "two words")
		if want := client.Position("E:60"); err != nil || got != want {
			t.Errorf("Position = %v, %v; want %v", got, err, want)
		}
		if want := "GET /history?limit=0&topic=two+words"; s.calls[0] != want {
			t.Errorf("got  %s\nwant %s", s.calls[0], want)
		}
		for topic, want := range map[string]string{"a": `position of "a": topic_denied: so it is`, "": `position of "": the topic is empty`} {
			if _, err := c.Position(t.Context(), topic); err == nil || err.Error() != want {
				t.Errorf("Position(%q) = %v, want %s", topic, err, want)
			}
		}
	})
}

func TestPresenceCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		s := scripted(f, answer(200, `{"topic":"a","count":2,"subscribers":12,"members":[{"sub":"u1","info":{"x":1}},{"sub":"u2"}]}`), answer(200, `{}`))
		c := newCaller(f, client.Options{})
		got, err := c.Presence(t.Context(), "a")
		if want := `present a 2 of 12 u1{"x":1} u2`; err != nil || describe(got, nil) != want {
			t.Errorf("Presence = %v, %v; want %s", describe(got, nil), err, want)
		}
		for _, topic := range []string{"a", ""} {
			if _, err := c.Presence(t.Context(), topic); err == nil {
				t.Errorf("Presence(%q) succeeded", topic)
			}
		}
		if len(s.calls) != 2 || s.calls[0] != "GET /presence?topic=a" {
			t.Errorf("the calls were %q", s.calls)
		}
	})
}
