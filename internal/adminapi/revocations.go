package adminapi

import (
	"net/http"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/revoke"
)

// How long revocations last.
const (
	untilExpires = "expires" // they are stored
	untilRestart = "restart" // they are in memory
)

// revocation is the body of a request that revokes tokens.
type revocation struct {
	ID      string `json:"jti"`
	Subject string `json:"sub"`
	Key     string `json:"kid"`
	Issuer  string `json:"issuer"`
	topics  `json:",inline"`
	Before  time.Time `json:"before"`
	Expires time.Time `json:"expires"`
}

// entries returns one entry for each topic and pattern, or one for all topics.
func (r *revocation) entries(now time.Time) ([]revoke.Entry, error) {
	e := revoke.Entry{ID: r.ID, Subject: r.Subject, Key: r.Key, Issuer: r.Issuer, Before: r.Before, Expires: r.Expires}
	if e.Before.IsZero() && e.Subject != "" && e.ID == "" {
		e.Before = now // so that the user can come back with a new token
	}
	names, patterns, err := r.parse()
	if err != nil {
		return nil, err
	}
	if r.Topics != nil && len(names) == 0 || r.Patterns != nil && len(patterns) == 0 {
		return nil, pubsub.Errorf(pubsub.Malformed, "topics and patterns must not be empty lists: omit both to revoke tokens for all topics")
	}
	if len(names)+len(patterns) == 0 {
		return []revoke.Entry{e}, nil
	}
	var all []revoke.Entry
	for _, name := range names {
		one := e
		one.Topic = name
		all = append(all, one)
	}
	for _, pattern := range patterns {
		one := e
		one.Pattern = pattern
		all = append(all, one)
	}
	return all, nil
}

type revoked struct {
	Revocations []revoke.Entry `json:"revocations"`
	Until       string         `json:"until"`
	ended       `json:",inline"`
}

// revoke stores revocations, and ends what lives by the tokens, on all servers.
func (a *API) revoke(r *http.Request) (any, error) {
	var body revocation
	if err := a.decode(r, &body); err != nil {
		return nil, err
	}
	entries, err := body.entries(a.config.Now())
	if err != nil {
		return nil, err
	}
	added, err := a.config.Revocations.Add(r.Context(), entries...)
	if err != nil {
		return nil, err
	}
	act := &action{Do: doRevoke}
	for _, text := range revoke.New(revoke.Config{Entries: added, Now: a.config.Now}).Texts() {
		act.Revocations = append(act.Revocations, jsontext.Value(text))
	}
	e, err := a.everywhere(r, act)
	switch {
	case err != nil && e.Servers == nil:
		return nil, err
	case err != nil: // They read it from the broker.
		a.log.Warn("the other servers do not know of a revocation yet", "err", err)
	}
	for _, e := range added {
		a.log.Info("tokens revoked", "entry", auth.Loggable(e.String()), "expires", e.Expires, "remote", r.RemoteAddr)
	}
	return revoked{added, a.until(), e}, nil
}

// list returns the revocations that expire first.
func (a *API) list(*http.Request) (any, error) {
	entries := a.config.Revocations.Entries()
	return struct {
		Count       int            `json:"count"`
		Until       string         `json:"until"`
		Revocations []revoke.Entry `json:"revocations"`
	}{len(entries), a.until(), entries[:min(len(entries), maxListed)]}, nil
}

func (a *API) until() string {
	if a.config.Revocations.Stored() {
		return untilExpires
	}
	return untilRestart
}
