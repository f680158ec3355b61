package wire_test

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// Each row of the table, as a publisher sees it.
func TestWriteProblem(t *testing.T) {
	for code, want := range map[pubsub.Code]struct {
		status    int
		challenge string
		retry     string
	}{
		pubsub.Malformed:            {400, "", ""},
		pubsub.TopicInvalid:         {400, "", ""},
		pubsub.TokenMissing:         {401, `Bearer error="invalid_request"`, ""},
		pubsub.TokenInvalid:         {401, `Bearer error="invalid_token"`, ""},
		pubsub.TokenExpired:         {401, `Bearer error="invalid_token"`, ""},
		pubsub.ScopeDenied:          {403, "", ""},
		pubsub.TopicDenied:          {403, "", ""},
		pubsub.OriginDenied:         {403, "", ""},
		pubsub.NotFound:             {404, "", ""},
		pubsub.MethodNotAllowed:     {405, "", ""},
		pubsub.UnknownType:          {400, "", ""},
		pubsub.Idle:                 {408, "", ""},
		pubsub.KeyReused:            {409, "", ""},
		pubsub.TooLarge:             {413, "", ""},
		pubsub.UnsupportedMediaType: {415, "", ""},
		pubsub.UpgradeRequired:      {426, "", ""},
		pubsub.TooMany:              {429, "", "2"},
		pubsub.Internal:             {500, "", ""},
		pubsub.OverCapacity:         {503, "", "2"},
		pubsub.OutcomeUnknown:       {503, "", "2"},
		pubsub.Unavailable:          {503, "", "2"},
		pubsub.Draining:             {503, "", "2"},
		pubsub.TooSlow:              {503, "", ""},
		"never heard of":            {500, "", ""},
	} {
		w := httptest.NewRecorder()
		wire.WriteProblem(w, pubsub.Errorf(code, "what is wrong"))
		var body map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
			t.Fatal(err)
		}
		if w.Code != want.status || w.Header().Get("WWW-Authenticate") != want.challenge || w.Header().Get("Retry-After") != want.retry ||
			w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d, %v; want %+v", code, w.Code, w.Header(), want)
		}
		if body["code"] != string(code) || body["detail"] != "what is wrong" || body["status"] != float64(want.status) {
			t.Errorf("%s: body %v", code, body)
		}
	}
}

// People also read problems, in the output of curl for example.
func TestProblemsAreReadable(t *testing.T) {
	const detail = "send Authorization: Bearer <token> & nothing else"
	w := httptest.NewRecorder()
	wire.WriteProblem(w, pubsub.Errorf(pubsub.TokenMissing, "%s", detail))
	if !strings.Contains(w.Body.String(), detail) {
		t.Errorf("the body is %s, want it to contain %q unescaped", w.Body, detail)
	}
}

// A refusal that says which quota is used up also says it in the header.
func TestWriteProblemWithQuota(t *testing.T) {
	for _, test := range []struct {
		quota                pubsub.Quota
		retry, policy, limit string
	}{
		{pubsub.Quota{Policy: "requests", Limit: 5, Window: time.Second, After: time.Millisecond}, "1", `"requests";q=5;w=1`, `"requests";r=0;t=1`},
		{pubsub.Quota{Policy: "failed-tokens", Limit: 20, Window: time.Minute, After: 2001 * time.Millisecond}, "3", `"failed-tokens";q=20;w=60`, `"failed-tokens";r=0;t=3`},
		{pubsub.Quota{Policy: "open-connections", Limit: 10}, "2", `"open-connections";q=10;qu="concurrent-requests"`, `"open-connections";r=0`},
	} {
		err := pubsub.Errorf(pubsub.TooMany, "what is wrong")
		err.Quota = &test.quota
		w := httptest.NewRecorder()
		wire.WriteProblem(w, err)
		got := [...]string{w.Header().Get("Retry-After"), w.Header().Get("RateLimit-Policy"), w.Header().Get("RateLimit")}
		if want := [...]string{test.retry, test.policy, test.limit}; got != want {
			t.Errorf("%+v: %q, want %q", test.quota, got, want)
		}
	}
}
