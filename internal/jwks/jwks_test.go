package jwks_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/internaltest/logtest"
	"github.com/ikornaselur/notiflux/internal/jwks"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// set returns a JWK Set with an Ed25519 key for each kid.
func set(kids ...string) string {
	var keys []string
	for _, kid := range kids {
		seed := sha256.Sum256([]byte(kid))
		public := ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey)
		keys = append(keys, fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","kid":%q,"x":%q}`, kid, base64.RawURLEncoding.EncodeToString(public)))
	}
	return `{"keys":[` + strings.Join(keys, ",") + `]}`
}

// A provider is the server of an identity provider.
type provider struct {
	mu       sync.Mutex
	status   int
	header   http.Header
	body     string
	endless  bool
	delay    time.Duration // of the headers
	trickle  time.Duration // before each byte of the body
	err      error
	began    []time.Time // requests
	atOnce   int
	parallel int // most requests at once
}

func (p *provider) answer(status int, body string, header ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status, p.body, p.header = status, body, make(http.Header)
	p.endless, p.delay, p.trickle, p.err = false, 0, 0, nil
	for pair := range slices.Chunk(header, 2) {
		p.header.Set(pair[0], pair[1])
	}
}

func (p *provider) requests() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.began)
}

func (p *provider) RoundTrip(r *http.Request) (*http.Response, error) {
	p.mu.Lock()
	p.began = append(p.began, time.Now())
	p.atOnce++
	p.parallel = max(p.parallel, p.atOnce)
	err := p.err
	answer := &http.Response{StatusCode: p.status, Header: p.header, Request: r, Body: &body{r.Context(), p.body, p.endless, p.trickle}}
	delay := p.delay
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.atOnce--
		p.mu.Unlock()
	}()
	if err == nil {
		err = wait(r.Context(), delay)
	}
	if err != nil {
		return nil, err
	}
	return answer, nil
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

type body struct {
	ctx     context.Context
	text    string
	endless bool
	trickle time.Duration
}

func (b *body) Read(p []byte) (n int, err error) {
	if err := wait(b.ctx, b.trickle); err != nil {
		return 0, err
	}
	switch {
	case b.endless:
		return copy(p, strings.Repeat(" ", len(p))), nil
	case b.text == "":
		return 0, io.EOF
	case b.trickle > 0:
		p = p[:1]
	}
	n = copy(p, b.text)
	b.text = b.text[n:]
	return n, nil
}

func (b *body) Close() error { return nil }

// A loaded is a source that runs, and what it has set.
type loaded struct {
	*jwks.Source
	t    *testing.T
	log  logtest.Buffer
	mu   sync.Mutex
	sets []*auth.Keys
	stop func()
}

// run starts a source in a synctest bubble.
func run(t *testing.T, address string, transport http.RoundTripper) *loaded {
	t.Helper()
	a, err := jwks.ParseAddress(address)
	if err != nil {
		t.Fatal(err)
	}
	l := &loaded{t: t}
	l.Source = jwks.New(jwks.Config{Address: a, Transport: transport, Log: slog.New(slog.NewTextHandler(&l.log, nil))})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		l.Run(ctx, func(k *auth.Keys) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.sets = append(l.sets, k)
		})
	})
	l.stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(l.stop)
	synctest.Wait()
	return l
}

// want checks how many sets of keys were loaded, and how many keys the last one has.
func (l *loaded) want(sets, keys int) {
	l.t.Helper()
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.sets) != sets || sets > 0 && l.sets[sets-1].Len() != keys || l.Stats().Keys != keys {
		l.t.Errorf("%d sets were loaded (%+v), want %d, the last with %d keys", len(l.sets), l.Stats(), sets, keys)
	}
}

// await asks for a kid, and returns how long the token waited and what is said of it then.
func (l *loaded) await(kid string) (waited time.Duration, waits bool, code pubsub.Code) {
	began := time.Now()
	done := make(chan struct{})
	if waits = l.Await(kid, func() { close(done) }); waits {
		<-done
	}
	if err := l.Missing(kid); err != nil {
		code = pubsub.Refusal(err).Code
	}
	return time.Since(began), waits, code
}

const address = "https://id.example/keys"

// Keys are loaded at start, and again after max-age, within bounds.
func TestAge(t *testing.T) {
	for header, age := range map[string]time.Duration{
		"":                             5 * time.Minute,
		"no-cache":                     5 * time.Minute,
		"max-age=120":                  2 * time.Minute,
		"public, Max-Age=\"300\", x=1": 5 * time.Minute,
		"max-age=0":                    time.Minute,
		"max-age=5":                    time.Minute,
		"max-age=-1":                   time.Minute,
		"max-age":                      time.Minute,
		"max-age=x":                    time.Minute,
		"max-age=86400":                15 * time.Minute,
		"max-age=99999999999999999":    time.Minute,
	} {
		synctest.Test(t, func(t *testing.T) {
			p := new(provider)
			p.answer(http.StatusOK, set("1"), "Cache-Control", header)
			l := run(t, address, p)
			l.want(1, 1)
			for n := 1; n < 4; n++ {
				time.Sleep(age - time.Second)
				synctest.Wait()
				if got := p.requests(); got != n {
					t.Errorf("%q: %d requests shortly before request %d", header, got, n+1)
				}
				time.Sleep(time.Second)
				synctest.Wait()
				if got := p.requests(); got != n+1 {
					t.Errorf("%q: %d requests after %v, want %d", header, got, time.Duration(n)*age, n+1)
				}
			}
			l.want(1, 1)
			p.answer(http.StatusOK, set("2", "3"))
			time.Sleep(age)
			l.want(2, 2)
			l.stop()
		})
	}
}

// Tokens with an unknown kid wait for one request, which brings a new key.
func TestUnknownKidsShareOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := new(provider)
		p.answer(http.StatusOK, set("old"))
		l := run(t, address, p)
		time.Sleep(time.Minute)
		p.answer(http.StatusOK, set("old", "new"))
		p.mu.Lock()
		p.delay = 2 * time.Second
		p.mu.Unlock()
		var waiting sync.WaitGroup
		for i := range 100 {
			waiting.Go(func() {
				time.Sleep(time.Duration(i) * 10 * time.Millisecond)
				if waited, waits, _ := l.await("new"); !waits || waited > 2*time.Second {
					t.Errorf("token %d waited %v, %v", i, waits, waited)
				}
			})
		}
		waiting.Wait()
		l.want(2, 2)
		if p.requests() != 2 || p.parallel != 1 {
			t.Errorf("%d requests, %d at once", p.requests(), p.parallel)
		}
		l.stop()
	})
}

// A request because of an unknown kid is made at most every 30 s. Until one that began after
// the kid was seen, its tokens may be tried again; after that the kid does not exist.
func TestUnknownKidsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := new(provider)
		p.answer(http.StatusOK, set("1"))
		l := run(t, address, p)
		time.Sleep(time.Second)
		if waited, waits, code := l.await("0"); !waits || waited != 0 || code != "" {
			t.Errorf("a kid that does not exist: waits %v, %v, then %q", waits, waited, code)
		}
		time.Sleep(time.Second)
		if _, waits, code := l.await("a"); waits || code != pubsub.OverCapacity {
			t.Errorf("1 s after a request: waits %v, then %q", waits, code)
		}
		time.Sleep(25 * time.Second)
		if waited, waits, code := l.await("a"); !waits || waited != 4*time.Second || code != "" {
			t.Errorf("26 s after a request: waits %v, %v, then %q; want 4 s, then no such key", waits, waited, code)
		}
		if _, waits, code := l.await("a"); waits || code != "" {
			t.Errorf("again: waits %v, then %q", waits, code)
		}
		if _, waits, code := l.await("b"); waits || code != pubsub.OverCapacity {
			t.Errorf("another kid: waits %v, then %q", waits, code)
		}
		// Guessed kids cannot cause more requests, or take more memory.
		for i := range 5000 {
			l.Await(fmt.Sprint("guess", i), func() {})
			time.Sleep(30 * time.Millisecond)
		}
		if n := p.requests(); n > 3+5 {
			t.Errorf("%d requests, want one in 30 s", n)
		}
		l.stop()
	})
}

// Whatever the provider's server does, the keys stay. A wrong answer is an answer that takes
// 5 s at most.
func TestBadAnswers(t *testing.T) {
	many := make([]string, 17)
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	for name, c := range map[string]struct {
		change func(p *provider)
		log    string
	}{
		"down":          {func(p *provider) { p.err = errors.New("connection refused") }, "connection refused"},
		"slow":          {func(p *provider) { p.delay = time.Hour }, "no complete answer within 5s"},
		"slow body":     {func(p *provider) { p.trickle = 100 * time.Millisecond }, "no complete answer within 5s"},
		"huge":          {func(p *provider) { p.body = set("1", "2") + strings.Repeat(" ", 64<<10) }, "more than 65536 bytes"},
		"endless":       {func(p *provider) { p.endless = true }, "more than 65536 bytes"},
		"redirecting":   {func(p *provider) { p.status, p.header = 302, http.Header{"Location": {"https://id.example/other"}} }, "redirect (302)"},
		"not found":     {func(p *provider) { p.status = 404 }, "404"},
		"failing":       {func(p *provider) { p.status = 500 }, "500"},
		"not modified":  {func(p *provider) { p.status = 304 }, "304"},
		"no JSON":       {func(p *provider) { p.body = "<html>" }, "not a JWK Set"},
		"empty":         {func(p *provider) { p.body = "" }, "not a JWK Set"},
		"no keys":       {func(p *provider) { p.body = `{"keys":[]}` }, "has no keys"},
		"too many":      {func(p *provider) { p.body = set(many...) }, "17 usable keys"},
		"only a secret": {func(p *provider) { p.body = `{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}` }, "can verify tokens; key 1: this is a symmetric JWK"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := new(provider)
				p.answer(http.StatusOK, set("1"))
				l := run(t, address, p)
				p.answer(http.StatusOK, set("1", "2"))
				p.mu.Lock()
				c.change(p)
				p.mu.Unlock()
				time.Sleep(time.Minute)
				if waited, waits, code := l.await("2"); !waits || waited > 5*time.Second || code != pubsub.OverCapacity {
					t.Errorf("waits %v, %v, then %q", waits, waited, code)
				}
				l.want(1, 1)
				if err := l.Stale(); err != nil {
					t.Error(err)
				}
				time.Sleep(24*time.Hour - 2*time.Minute)
				if err := l.Stale(); err != nil {
					t.Errorf("before 24 h: %v", err)
				}
				time.Sleep(2 * time.Minute)
				if err := l.Stale(); err == nil || pubsub.Refusal(err).Code != pubsub.Unavailable {
					t.Errorf("after 24 h: %v, want %s", err, pubsub.Unavailable)
				}
				if _, _, code := l.await("2"); code != pubsub.Unavailable {
					t.Errorf("after 24 h: %q, want %s", code, pubsub.Unavailable)
				}
				l.want(1, 1)
				if log := l.log.String(); strings.Count(log, c.log) != 1 || strings.Contains(log, "id.example") {
					t.Errorf("the log does not have %q once, or it has the address:\n%s", c.log, log)
				}
				p.answer(http.StatusOK, set("1", "2"))
				time.Sleep(40 * time.Second)
				l.want(2, 2)
				if err := l.Stale(); err != nil {
					t.Errorf("loaded again: %v", err)
				}
				l.stop()
			})
		})
	}
}

// Before any keys were loaded, tokens wait only for the first request.
func TestNeverLoaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &provider{delay: time.Hour}
		l := run(t, address, p)
		if l.Ready() == nil || l.Stats().Age != -time.Second {
			t.Errorf("Ready = nil, Stats = %+v", l.Stats())
		}
		if waited, waits, code := l.await("1"); !waits || waited != 5*time.Second || code != pubsub.Unavailable {
			t.Errorf("waits %v, %v, then %q", waits, waited, code)
		}
		if _, waits, code := l.await("1"); waits || code != pubsub.Unavailable {
			t.Errorf("after a failure: waits %v, then %q", waits, code)
		}
		p.answer(http.StatusOK, `{"keys":[{"kty":"oct","k":"c2VjcmV0","kid":"s"},`+set("1")[len(`{"keys":[`):])
		time.Sleep(5 * time.Second)
		l.want(1, 1)
		if err := l.Ready(); err != nil {
			t.Error(err)
		}
		if log := l.log.String(); !strings.Contains(log, "symmetric") || strings.Contains(log, "c2VjcmV0") {
			t.Errorf("the log does not say why a key was skipped, or shows it:\n%s", log)
		}
		l.stop()
	})
}

// A provider cannot fill the log with unusable keys.
func TestManyUnusableKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := new(provider)
		p.answer(http.StatusOK, `{"keys":[`+strings.Repeat(`{},`, 20000)+set("1")[len(`{"keys":[`):])
		l := run(t, address, p)
		l.want(1, 1)
		if log := l.log.String(); strings.Count(log, "\n") != 18 || !strings.Contains(log, "keys=19984") {
			t.Errorf("%d lines were logged, beginning with %.500s", strings.Count(log, "\n"), log)
		}
		l.stop()
	})
}

// When the server stops, nobody waits any more.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := run(t, address, &provider{delay: time.Hour})
		called := false
		if !l.Await("1", func() { called = true }) {
			t.Fatal("Await = false")
		}
		l.stop()
		if !called || l.Await("1", func() { t.Error("called") }) {
			t.Errorf("called %v, or Await = true after the end", called)
		}
	})
}

// A file is read every second, and a token with an unknown kid waits for that.
func TestFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "jwks.json")
		l := run(t, "file:"+file, nil)
		l.want(0, 0)
		write := func(text string) {
			t.Helper()
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write(set("1"))
		time.Sleep(time.Second)
		l.want(1, 1)
		time.Sleep(300 * time.Millisecond)
		write(set("1", "2"))
		if waited, waits, _ := l.await("2"); !waits || waited > time.Second {
			t.Errorf("waits %v, %v", waits, waited)
		}
		l.want(2, 2)
		write(set("2"))
		time.Sleep(time.Second)
		l.want(3, 1)
		write(strings.Repeat(" ", 64<<10+1))
		time.Sleep(time.Minute)
		l.want(3, 1)
		if log := l.log.String(); strings.Count(log, "not loaded; until they are, its tokens are refused") != 1 || strings.Count(log, "not loaded; old ones stay in use") != 1 || !strings.Contains(log, "there is no such file") {
			t.Errorf("want one warning at the start and one for the large file:\n%s", log)
		}
		l.stop()
	})
}

func TestParseAddress(t *testing.T) {
	for text, want := range map[string]string{
		"https://id.example/.well-known/jwks.json": "",
		"https://id.example:8443/keys?tenant=1":    "",
		"http://127.0.0.1:9000/keys":               "",
		"http://[::1]/keys":                        "",
		"http://localhost/keys":                    "",
		"file:/etc/jwks.json":                      "",
		"file:///etc/jwks.json":                    "",
		"file:jwks.json":                           "",
		"http://id.example/keys":                   "use https",
		"http://10.0.0.1/keys":                     "use https",
		"http://localhost.example/keys":            "use https",
		"https://u:p@id.example/keys":              "password",
		"file:":                                    "no path",
		"file://":                                  "no path",
		"/etc/jwks.json":                           "file: followed",
		"ftp://id.example/":                        "https://",
		"https:///keys":                            "https://",
		"https://a b/":                             "https://",
		"":                                         "https://",
	} {
		_, err := jwks.ParseAddress(text)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("ParseAddress(%q) = %v, want %q", text, err, want)
		}
	}
}
