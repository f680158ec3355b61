package httpapi_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/broker/memory"
	"github.com/ikornaselur/notiflux/internal/httpapi"
	"github.com/ikornaselur/notiflux/internal/internaltest/authtest"
	"github.com/ikornaselur/notiflux/internal/internaltest/logtest"
	"github.com/ikornaselur/notiflux/internal/origin"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/router"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// A service is an API behind its router on a real socket, with a publisher that keeps the
// messages it gets.
type service struct {
	api       *httpapi.API
	handler   http.Handler
	url       string
	publisher *publisher
	signer    *auth.Signer
	verifier  *auth.Verifier
	log       *logtest.Buffer
}

// newService starts a service. It fails the test if a token is logged.
func newService(t *testing.T, c httpapi.Config, origins ...string) *service {
	t.Helper()
	s := newHandler(t, c, origins...)
	server := httptest.NewServer(s.handler)
	t.Cleanup(func() {
		server.Close()
		if strings.Contains(s.log.String(), "eyJ") {
			t.Errorf("a token is in the log:\n%s", s.log)
		}
	})
	s.url = server.URL
	return s
}

// newHandler makes a service that has no socket and no goroutine.
func newHandler(t testing.TB, c httpapi.Config, origins ...string) *service {
	t.Helper()
	stored, topics := memory.New(memory.Config{Epoch: epoch}, topic.Config{})
	s := &service{publisher: &publisher{Broker: stored}, log: new(logtest.Buffer)}
	s.signer, s.verifier = newIssuer(t)
	if c.Topics == nil {
		c.Topics, c.Attacher = topics, broker.NewAttacher(stored, broker.AttacherConfig{})
	}
	if c.Broker == nil {
		c.Broker = s.publisher
	}
	c.Verifier = direct{s.verifier}
	c.Log = slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	list := origin.List{} // allows every origin
	if len(origins) > 0 {
		var err error
		if list, err = origin.Parse(origins); err != nil {
			t.Fatal(err)
		}
	}
	c.Origins = list
	s.api = httpapi.New(c)
	s.handler = router.New(list, c.Log, s.api.Routes()...)
	return s
}

// serve answers a request without a socket; headers are pairs of name and value.
func (s *service) serve(t testing.TB, ctx context.Context, method, target string, headers ...string) *response {
	t.Helper()
	return s.serveBody(t, ctx, method, target, "", headers...)
}

// serveBody is serve for a request with a body.
func (s *service) serveBody(t testing.TB, ctx context.Context, method, target, body string, headers ...string) *response {
	t.Helper()
	r := httptest.NewRequestWithContext(ctx, method, target, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return readResponse(t, w.Result())
}

func newIssuer(t testing.TB) (*auth.Signer, *auth.Verifier) {
	t.Helper()
	signer := authtest.NewSigner(t)
	return signer, authtest.NewVerifier(t, signer)
}

// token returns a token that is valid for an hour.
func token(t testing.TB, s *auth.Signer, scope auth.Scope, topics ...pubsub.Topic) string {
	t.Helper()
	token, err := s.Sign(auth.Grant{
		Subject: "test", Scopes: []auth.Scope{scope}, Topics: topics, Expires: time.Now().Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(token)
}

// do sends a request; headers are pairs of name and value. It adds neither Content-Type nor
// User-Agent.
func (s *service) do(t testing.TB, method, path, body string, headers ...string) *response {
	t.Helper()
	request, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Add(headers[i], headers[i+1])
	}
	answer, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	return readResponse(t, answer)
}

// A response is an answer that has been read to its end.
type response struct {
	status  int
	header  http.Header
	body    string
	problem struct {
		Title  string
		Status int
		Code   pubsub.Code
		Detail string
	}
}

func readResponse(t testing.TB, answer *http.Response) *response {
	t.Helper()
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	r := &response{status: answer.StatusCode, header: answer.Header, body: string(body)}
	if r.header.Get("Content-Type") == "application/problem+json" && len(body) > 0 {
		if err := json.Unmarshal(body, &r.problem); err != nil {
			t.Fatalf("problem %q: %v", body, err)
		}
	}
	return r
}

// want checks the status and the code; an empty code means no problem.
func (r *response) want(t testing.TB, status int, code pubsub.Code) {
	t.Helper()
	if r.status != status || r.problem.Code != code {
		t.Errorf("answer = %d %q (%s), want %d %q", r.status, r.problem.Code, r.body, status, code)
	}
	if code != "" && (r.problem.Status != status || r.problem.Detail == "") {
		t.Errorf("problem = %+v, want status %d and a detail", r.problem, status)
	}
	if code != "" && r.header.Get("Cache-Control") != "no-store" {
		t.Errorf("Cache-Control = %q, want no-store", r.header.Get("Cache-Control"))
	}
}

// wantDetail checks that the sentence of an error contains words.
func (r *response) wantDetail(t testing.TB, words string) {
	t.Helper()
	if !strings.Contains(r.problem.Detail, words) {
		t.Errorf("detail = %q, want it to contain %q", r.problem.Detail, words)
	}
}

// A publisher assigns offsets from 1, and keeps the published messages.
type publisher struct {
	httpapi.Broker       // for histories
	err            error // returned by every publish, if set

	mu        sync.Mutex
	published []pubsub.Publication
}

func (p *publisher) Publish(ps []pubsub.Publication, _ func()) (finished bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range ps {
		switch {
		case ps[i].Err != nil:
		case p.err != nil:
			ps[i].Err = p.err
		default:
			ps[i].Position = pubsub.Position{Epoch: "E", Offset: uint64(len(p.published) + 1)}
			p.published = append(p.published, ps[i])
		}
	}
	return true
}

func (p *publisher) all() []pubsub.Publication {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.published
}
