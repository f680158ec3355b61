// Package adminapi serves the admin API: the routes /api/v1/… of the admin listener, with which
// an operator's programs revoke tokens and act on connected clients.
//
// A request passes the guard of package admin, and then needs the bearer token of the API, if
// there is one. Its body is one JSON object, whose members are all known: a misspelt condition
// would revoke more than was meant. docs/admin.yaml describes the routes in OpenAPI.
//
// A revocation is stored and has effect on every later request before the clients that hold it
// are swept, so none slips through. The other actions have no memory. If servers share a broker,
// an action takes effect on the one that was asked, which then asks all others (action.go).
package adminapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/control"
	"github.com/ikornaselur/notiflux/internal/explain"
	"github.com/ikornaselur/notiflux/internal/origin"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/revoke"
	"github.com/ikornaselur/notiflux/internal/router"
)

// Prefix is the beginning of the paths of all routes.
const Prefix = "/api/v1/"

// Limits of one request.
const (
	maxBodyBytes = 256 << 10
	maxTopics    = 100  // topics and patterns
	maxListed    = 1000 // revocations in an answer
	timeout      = 30 * time.Second
)

// A Config configures [New].
type Config struct {
	Token       func() (string, error) // the bearer token, called for each request; nil: none is needed
	Refuse      error                  // why no request is served; nil: all are
	Revocations *revoke.List
	Control     *control.Control
	Issuers     []string // that the server accepts; none: its tokens have no issuer

	// Others sends a request to the other servers, for [API.Perform], and returns their answers
	// and how many servers there are. Nil: this server shares its broker with no other.
	Others func(ctx context.Context, request []byte) (answers [][]byte, others int, err error)

	Verifier explain.Verifier                     // explains tokens
	Settings func(pubsub.Topic) *explain.Settings // explains topics; nil: their settings are not shown
	Now      func() time.Time                     // the wall clock; nil: time.Now
	Log      *slog.Logger                         // nil discards
}

// An API is the handler of the paths below [Prefix].
type API struct {
	http.Handler
	config Config
	log    *slog.Logger
}

// New returns an API.
func New(c Config) *API {
	if c.Now == nil {
		c.Now = time.Now
	}
	a := &API{config: c, log: c.Log}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	var routes []router.Route
	for _, r := range []struct {
		method, name string
		handle       func(*http.Request) (any, error)
	}{
		{http.MethodGet, "revocations", a.list},
		{http.MethodPost, "revocations", a.revoke},
		{http.MethodPost, "disconnect", a.disconnect},
		{http.MethodPost, "explain", a.explain},
		{http.MethodPost, "unsubscribe", a.unsubscribe},
		{http.MethodPost, "subscribe", a.subscribe},
	} {
		routes = append(routes, router.Route{Method: r.method, Path: Prefix + r.name, NoHead: true, Handle: a.answer(r.handle)})
	}
	// Pages have no business here. The guard of the listener refuses those of other sites, too.
	a.Handler = router.New(origin.None, a.log, routes...)
	return a
}

// answer makes a handler of a function that returns what to answer in JSON.
func (a *API) answer(handle func(*http.Request) (any, error)) router.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := a.authorize(r); err != nil {
			return err
		}
		// What has begun is finished, even if the client does not wait for it.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), timeout)
		defer cancel()
		answer, err := handle(r.WithContext(ctx))
		if err != nil {
			return err
		}
		body, err := json.Marshal(answer, jsontext.EscapeForHTML(false))
		if err != nil {
			return err
		}
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Cache-Control", "no-store")
		_, _ = w.Write(append(body, '\n')) // an error means that the client is gone
		return nil
	}
}

// authorize returns an error unless the request may use the API.
func (a *API) authorize(r *http.Request) error {
	if a.config.Refuse != nil {
		return a.config.Refuse
	}
	if a.config.Token == nil {
		return nil
	}
	want, err := a.config.Token()
	if err != nil {
		return &pubsub.Error{Code: pubsub.Unavailable, Detail: "the server cannot read the token of this API: its log says why", Err: err}
	}
	scheme, got, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	switch {
	case got == "" || !strings.EqualFold(scheme, "Bearer"):
		return pubsub.Errorf(pubsub.TokenMissing, "the admin API requires its token: send Authorization: Bearer <the content of the file in the server's setting --admin-token-file>")
	case want == "" || !same(strings.TrimSpace(got), want):
		return pubsub.Errorf(pubsub.TokenInvalid, "this is not the token of the admin API: send the content of the file in the server's setting --admin-token-file")
	}
	return nil
}

// same compares secrets in constant time, whatever their lengths.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// decode decodes the body of a request, which must be an object with members of v only.
func (a *API) decode(r *http.Request, v any) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return pubsub.Errorf(pubsub.UnsupportedMediaType, "the body must be JSON: send Content-Type: application/json")
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBodyBytes+1))
	switch {
	case err != nil:
		return pubsub.Errorf(pubsub.Malformed, "the body did not arrive as a whole")
	case len(body) > maxBodyBytes:
		return pubsub.Errorf(pubsub.TooLarge, "the body is larger than %d bytes", maxBodyBytes)
	case !bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")):
		return pubsub.Errorf(pubsub.Malformed, "the body must be a JSON object")
	}
	if err := json.Unmarshal(body, v, json.RejectUnknownMembers(true)); err != nil {
		return malformed(err)
	}
	return a.checkNames(body)
}

// checkNames returns an error if a member that limits whom or what a request concerns is null or
// the empty text. Nothing has such a name, so it is probably of a variable that was not set; to
// take it as absent could concern many more. It also refuses an issuer that the server does not
// know, because no token has it.
func (a *API) checkNames(body []byte) error {
	var members map[string]jsontext.Value
	if err := json.Unmarshal(body, &members); err != nil {
		return malformed(err)
	}
	for _, name := range []string{"sub", "jti", "kid", "issuer", "connection", "topics", "patterns", "before", "expires"} {
		switch string(members[name]) {
		case `""`:
			return pubsub.Errorf(pubsub.Malformed, "%s is empty: set it, or omit it", name)
		case "null":
			return pubsub.Errorf(pubsub.Malformed, "%s is null: set it, or omit it", name)
		}
	}
	var issuer string
	if err := json.Unmarshal(members["issuer"], &issuer); err != nil || issuer == "" || slices.Contains(a.config.Issuers, issuer) {
		return nil // There is none, or it is right.
	}
	if len(a.config.Issuers) == 0 {
		return pubsub.Errorf(pubsub.Malformed, "no token has the issuer %.255q, because this server has neither --jwt-issuer nor --jwks-issuer: omit issuer", issuer)
	}
	return pubsub.Errorf(pubsub.Malformed, "no token has the issuer %.255q: the issuers of this server are %q", issuer, a.config.Issuers)
}

// malformed says in our words what the decoder found. The place is a JSON pointer.
func malformed(err error) error {
	e, ok := errors.AsType[*json.SemanticError](err)
	if !ok {
		return pubsub.Errorf(pubsub.Malformed, "the body is not valid JSON, or has a member twice")
	}
	at := auth.Loggable(string(e.JSONPointer)) // It may be a token.
	switch {
	case errors.Is(err, json.ErrUnknownName):
		return pubsub.Errorf(pubsub.Malformed, "the body has the unknown member %s: docs/admin.yaml lists the members", at)
	case e.GoType != nil && strings.Contains(e.GoType.String(), "time.Time"):
		return pubsub.Errorf(pubsub.Malformed, "%s is not a time: use a form like \"2026-01-31T12:00:00Z\"", at)
	}
	return pubsub.Errorf(pubsub.Malformed, "%s has a value of the wrong type", at)
}

// Topics are the members of a request that name topics.
type topics struct {
	Topics   []string `json:"topics"`
	Patterns []string `json:"patterns"`
}

// parse returns the topics and patterns.
func (t *topics) parse() (names []pubsub.Topic, patterns []pubsub.Pattern, err error) {
	if len(t.Topics)+len(t.Patterns) > maxTopics {
		return nil, nil, pubsub.Errorf(pubsub.Malformed, "the request has %d topics and patterns; the limit is %d", len(t.Topics)+len(t.Patterns), maxTopics)
	}
	if names, err = pubsub.AppendParsed(names, t.Topics, pubsub.ParseTopic); err != nil {
		return nil, nil, err
	}
	if patterns, err = pubsub.AppendParsed(patterns, t.Patterns, pubsub.ParsePattern); err != nil {
		return nil, nil, err
	}
	return names, patterns, nil
}

// user are the members of a request that identify a user.
type user struct {
	Subject string `json:"sub"`
	Issuer  string `json:"issuer"`
}

// check returns an error if nothing identifies the user.
func (u *user) check() error {
	if u.Subject == "" {
		return pubsub.Errorf(pubsub.Malformed, "nothing says whom this concerns: set sub")
	}
	return nil
}
