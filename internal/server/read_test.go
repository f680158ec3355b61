package server_test

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// A reading is an answer to /history or /poll, or its problem.
type reading struct {
	Cursor    string
	Position  string
	Recovered bool
	More      bool
	Messages  []struct {
		Topic, Position, Data string
	}
	Code pubsub.Code

	status int
	header http.Header
	err    error
}

func (r *reading) texts() string {
	var all []string
	for _, m := range r.Messages {
		all = append(all, m.Data)
	}
	return strings.Join(all, " ")
}

// read requests a path from a server; headers are pairs of name and value.
func read(client *http.Client, url, method, path string, headers ...string) (a reading) {
	r, err := http.NewRequest(method, url+path, nil)
	if err != nil {
		return reading{err: err}
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	res, err := client.Do(r)
	if err != nil {
		return reading{err: err}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && method != http.MethodHead {
		err = json.Unmarshal(body, &a)
	}
	if method == http.MethodHead && len(body) > 0 {
		err = fmt.Errorf("HEAD has the body %q", body)
	}
	a.status, a.header, a.err = res.StatusCode, res.Header, err
	return a
}

// mustRead makes a request with a token for the topics, and requires an answer.
func mustRead(t *testing.T, s *servertest.Server, path string, topics ...pubsub.Topic) reading {
	t.Helper()
	a := read(s.HTTP, s.URL, "GET", path, "Authorization", "Bearer "+s.Token(auth.Subscribe, topics...))
	if a.err != nil || a.status != 200 {
		t.Fatalf("GET %s: %d %s, %v", path, a.status, a.Code, a.err)
	}
	return a
}

func TestHistoryWithSubscribers(t *testing.T) {
	s := servertest.Start(t, nil)
	unknown := mustRead(t, s, "/history?topic=a", "a")
	if unknown.texts() != "" || !unknown.Recovered || unknown.More {
		t.Errorf("an unknown topic: %+v", unknown)
	}
	var positions []string
	for i := range 150 {
		positions = append(positions, s.Broadcast("a", fmt.Sprint(i)))
		if i == 0 {
			if a := mustRead(t, s, "/history?topic=a&since="+unknown.Position, "a"); a.texts() != "0" || !a.Recovered {
				t.Errorf("since the position of an unknown topic: %+v", a)
			}
		}
	}
	a := mustRead(t, s, "/history?topic=a", "a")
	if len(a.Messages) != 100 || a.Messages[0].Data != "50" || a.Position != positions[149] || !a.Recovered || a.More {
		t.Errorf("without since: %d messages, %+v", len(a.Messages), a)
	}
	a = mustRead(t, s, "/history?topic=a&limit=10&since="+positions[60], "a")
	if a.texts() != "61 62 63 64 65 66 67 68 69 70" || a.Position != positions[70] || !a.Recovered || !a.More {
		t.Errorf("since a position: %+v", a)
	}
	a = mustRead(t, s, "/history?topic=a&limit=1&since="+positions[40], "a")
	if a.texts() != "50" || a.Recovered || !a.More {
		t.Errorf("since a position before the history: %+v", a)
	}
	// A poll continues from the position without a gap.
	a = mustRead(t, s, "/poll?topic=a&since="+mustRead(t, s, "/history?topic=a&limit=95", "a").Position+"&wait=0", "a")
	if a.texts() != "" || !a.Recovered {
		t.Errorf("a poll from the history's position: %+v", a)
	}
}

func TestPollIsAnsweredByABroadcast(t *testing.T) {
	s := servertest.Start(t, nil)
	s.Broadcast("a", "before")
	a := mustRead(t, s, "/poll?topic=a&topic=b", "a", "b")
	if a.texts() != "" || !a.Recovered || a.Cursor == "" {
		t.Fatalf("the first poll: %+v", a)
	}
	path := "/poll?topic=a&topic=b&wait=60&since="
	for i := range 20 {
		answered := make(chan reading, 1)
		go func() {
			answered <- read(s.HTTP, s.URL, "GET", path+a.Cursor+"&token="+s.Token(auth.Subscribe, "a", "b"))
		}()
		topic := []pubsub.Topic{"a", "b"}[i%2]
		position := s.Broadcast(topic, fmt.Sprint(i))
		a = <-answered
		if a.err != nil || a.status != 200 || a.texts() != fmt.Sprint(i) || !a.Recovered || a.Messages[0].Position != position {
			t.Fatalf("poll %d: %+v", i, a)
		}
	}
	// Of fifty messages, the history still has those of one topic.
	for i := range 50 {
		s.Broadcast("b", fmt.Sprint(i))
	}
	b := mustRead(t, s, path+a.Cursor, "a", "b")
	if len(b.Messages) != 50 || !b.Recovered {
		t.Errorf("a poll over 50 messages has %d, recovered %v", len(b.Messages), b.Recovered)
	}
	if again := mustRead(t, s, path+a.Cursor, "a", "b"); again.Cursor != b.Cursor || again.texts() != b.texts() {
		t.Errorf("the same poll again: %+v", again)
	}
}

func TestPollFromBeforeTheHistory(t *testing.T) {
	s := servertest.Start(t, func(c *config.Serve) { c.HistoryMessages = 20 })
	since := s.Broadcast("a", "seen")
	for i := range 50 {
		s.Broadcast("a", fmt.Sprint(i))
	}
	a := mustRead(t, s, "/poll?topic=a&since="+since, "a")
	if a.Recovered || a.texts() != "" {
		t.Errorf("after 50 messages, 20 of them held: %+v", a)
	}
	s.Broadcast("a", "next")
	if a = mustRead(t, s, "/poll?topic=a&since="+a.Cursor, "a"); !a.Recovered || a.texts() != "next" {
		t.Errorf("the poll after it: %+v", a)
	}
	other := servertest.Start(t, nil)
	if b := mustRead(t, other, "/poll?topic=a&since="+a.Cursor, "a"); b.Recovered || b.texts() != "" {
		t.Errorf("the cursor of another server: %+v", b)
	}
}

func TestReadersAreRefused(t *testing.T) {
	s := servertest.Start(t, func(c *config.Serve) { c.QueryTokens = false })
	open := servertest.Start(t, nil)
	token, openToken := s.Token(auth.Subscribe, "a"), open.Token(auth.Subscribe, "a")
	for _, c := range []struct {
		s      *servertest.Server
		path   string
		header []string
		status int
		code   pubsub.Code
	}{
		{open, "/poll", nil, 400, pubsub.Malformed},
		{open, "/poll?topic=a", nil, 401, pubsub.TokenMissing},
		{open, "/poll?topic=a&topic=b&token=" + openToken, nil, 403, pubsub.TopicDenied},
		{open, "/poll?topic=a&token=" + open.Token(auth.Broadcast, "a"), nil, 403, pubsub.ScopeDenied},
		{open, "/poll?topic=a&token=" + openToken, nil, 200, ""},
		{open, "/history?topic=a", []string{"Cookie", "notiflux_token=" + openToken}, 200, ""},
		{open, "/history?topic=a", []string{"Cookie", "notiflux_token=" + openToken, "Origin", open.URL}, 200, ""},
		{open, "/history?topic=a", []string{"Cookie", "notiflux_token=" + openToken, "Origin", "https://evil.example.com"}, 401, pubsub.TokenMissing},
		{s, "/history?topic=a&token=" + token, nil, 401, pubsub.TokenMissing},
		{s, "/history?topic=a&token=" + token, []string{"Authorization", "Bearer " + token}, 200, ""},
	} {
		if a := read(c.s.HTTP, c.s.URL, "GET", c.path, c.header...); a.err != nil || a.status != c.status || a.Code != c.code {
			t.Errorf("GET %.30s: %d %s, %v; want %d %s", c.path, a.status, a.Code, a.err, c.status, c.code)
		}
		if a := read(c.s.HTTP, c.s.URL, "HEAD", c.path, c.header...); a.err != nil || a.status != c.status {
			t.Errorf("HEAD %.30s: %d, %v; want %d", c.path, a.status, a.err, c.status)
		}
	}
	// HEAD of a poll that would wait.
	position := open.Broadcast("a", "x")
	if a := read(open.HTTP, open.URL, "HEAD", "/poll?topic=a&wait=60&since="+position+"&token="+openToken); a.err != nil || a.status != 200 {
		t.Errorf("HEAD of a poll: %d, %v", a.status, a.err)
	}
}

func TestWaitingPollsAreConnections(t *testing.T) {
	s := servertest.Start(t, func(c *config.Serve) { c.MaxConnections = 1 })
	path := "/poll?topic=a&wait=60&since=" + s.Broadcast("a", "x") + "&token=" + s.Token(auth.Subscribe, "a")
	answered := make(chan reading, 2)
	for range 2 {
		go func() { answered <- read(s.HTTP, s.URL, "GET", path) }()
	}
	if a := <-answered; a.status != 503 || a.Code != pubsub.OverCapacity || a.header.Get("Retry-After") == "" {
		t.Errorf("one poll too many: %+v", a)
	}
	s.Broadcast("a", "y")
	if a := <-answered; a.status != 200 || a.texts() != "y" {
		t.Errorf("the other one: %+v", a)
	}
	s.Subscribe("a") // the slot is free again
}

func TestShutdownAnswersPolls(t *testing.T) {
	s := servertest.Start(t, nil)
	path := "/poll?topic=a&wait=60&since=" + s.Broadcast("a", "x") + "&token=" + s.Token(auth.Subscribe, "a")
	answered := make(chan reading, 1)
	go func() { answered <- read(s.HTTP, s.URL, "GET", path) }()
	awaitConnections(t, s, 1)
	start := time.Now()
	if err := s.Stop(); err != nil {
		t.Errorf("the server ended with %v", err)
	}
	if a := <-answered; a.status != 200 || a.texts() != "" || !a.Recovered || time.Since(start) > 10*time.Second {
		t.Errorf("a poll at shutdown: %+v after %v", a, time.Since(start))
	}
}

// awaitConnections waits until the server counts n connections.
func awaitConnections(t *testing.T, s *servertest.Server, n int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		r, err := s.HTTP.Get(s.AdminURL + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if strings.Contains(string(body), fmt.Sprintf("\nnotiflux_connections %d\n", n)) {
			return
		}
	}
	t.Fatalf("there are not %d connections", n)
}

// A client that polls with interruptions beside a publisher gets each message once and in
// order wherever the answer says that none is missing. Within the history, the answer
// always says so.
func TestAPollerMissesNothing(t *testing.T) {
	const messages = 500
	s := servertest.Start(t, func(c *config.Serve) { c.HistoryMessages = messages })
	bearer := "Bearer " + s.Token(auth.Subscribe, "a", "b")
	a := mustRead(t, s, "/poll?topic=a&topic=b", "a", "b")
	published := make(chan struct{})
	go func() {
		defer close(published)
		for i := range messages {
			s.Broadcast([]pubsub.Topic{"a", "b"}[i%2], fmt.Sprint(i))
		}
	}()
	next := map[string]int{"a": 0, "b": 1}
	impatient := *s.HTTP
	for next["a"] < messages || next["b"] < messages {
		path := fmt.Sprintf("/poll?topic=a&topic=b&wait=%d&since=%s", rand.IntN(2)*5, a.Cursor)
		if rand.IntN(3) == 0 { // gone before or during the answer
			impatient.Timeout = time.Duration(1+rand.IntN(2000)) * time.Microsecond
			read(&impatient, s.URL, "GET", path, "Authorization", bearer)
			continue
		}
		if a = read(s.HTTP, s.URL, "GET", path, "Authorization", bearer); a.err != nil || a.status != 200 || !a.Recovered {
			t.Fatalf("%s: %+v", path, a)
		}
		for _, m := range a.Messages {
			if want := fmt.Sprint(next[m.Topic]); m.Data != want {
				t.Fatalf("topic %s has %s, want %s", m.Topic, m.Data, want)
			}
			next[m.Topic] += 2
		}
	}
	<-published
}
