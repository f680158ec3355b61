package wire_test

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// Every row of the table, as a publisher sees it.
func TestWriteProblem(t *testing.T) {
	for code, want := range map[notiflux.Code]struct {
		status    int
		challenge string
		retry     string
	}{
		notiflux.Malformed:            {400, "", ""},
		notiflux.TopicInvalid:         {400, "", ""},
		notiflux.TokenMissing:         {401, `Bearer error="invalid_request"`, ""},
		notiflux.TokenInvalid:         {401, `Bearer error="invalid_token"`, ""},
		notiflux.TokenExpired:         {401, `Bearer error="invalid_token"`, ""},
		notiflux.ScopeDenied:          {403, "", ""},
		notiflux.TopicDenied:          {403, "", ""},
		notiflux.OriginDenied:         {403, "", ""},
		notiflux.NotFound:             {404, "", ""},
		notiflux.MethodNotAllowed:     {405, "", ""},
		notiflux.UnknownType:          {400, "", ""},
		notiflux.Idle:                 {408, "", ""},
		notiflux.KeyReused:            {409, "", ""},
		notiflux.TooLarge:             {413, "", ""},
		notiflux.UnsupportedMediaType: {415, "", ""},
		notiflux.UpgradeRequired:      {426, "", ""},
		notiflux.TooMany:              {429, "", "2"},
		notiflux.Internal:             {500, "", ""},
		notiflux.OverCapacity:         {503, "", "2"},
		notiflux.OutcomeUnknown:       {503, "", "2"},
		notiflux.Unavailable:          {503, "", "2"},
		notiflux.Draining:             {503, "", "2"},
		notiflux.TooSlow:              {503, "", ""},
		"never heard of":              {500, "", ""},
	} {
		w := httptest.NewRecorder()
		wire.WriteProblem(w, notiflux.Errorf(code, "what is wrong"))
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

// A problem is read by people as well, as curl prints it.
func TestProblemsAreWrittenAsTheyRead(t *testing.T) {
	const detail = "send Authorization: Bearer <token> & nothing else"
	w := httptest.NewRecorder()
	wire.WriteProblem(w, notiflux.Errorf(notiflux.TokenMissing, "%s", detail))
	if !strings.Contains(w.Body.String(), detail) {
		t.Errorf("the body is %s, want %q in it as it stands", w.Body, detail)
	}
}
