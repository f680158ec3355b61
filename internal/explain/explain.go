// Package explain says what a token allows, and why or why not.
package explain

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// A Report is everything about one token. Its JSON is the answer of the admin API.
type Report struct {
	Verdict
	Subject   string    `json:"sub,omitempty"`
	Issuer    string    `json:"issuer,omitempty"` // whose key verified the token, or else that the token names
	Audiences []string  `json:"aud,omitempty"`
	ID        string    `json:"jti,omitempty"`
	Algorithm string    `json:"alg,omitempty"`
	Key       string    `json:"kid,omitempty"` // of the key that verified the token, or else that the token names
	Issued    time.Time `json:"iat,omitzero"`
	NotBefore time.Time `json:"nbf,omitzero"`
	Expires   time.Time `json:"exp,omitzero"`
	Until     time.Time `json:"until,omitzero"`
	Subscribe *Rights   `json:"subscribe,omitempty"` // nil: nothing
	Broadcast *Rights   `json:"broadcast,omitempty"` // nil: nothing
	Topics    []Topic   `json:"topics,omitempty"`    // that were asked about
}

// A Verdict says whether something is allowed and, if it is not, why.
type Verdict struct {
	Allowed bool        `json:"allowed"`
	Code    pubsub.Code `json:"code,omitempty"`
	Reason  string      `json:"reason,omitempty"`
}

// Rights are the topics and patterns of one scope.
type Rights struct {
	Topics   []pubsub.Topic   `json:"topics,omitempty"`
	Patterns []pubsub.Pattern `json:"patterns,omitempty"`
}

// A Topic says what the token allows with one topic.
type Topic struct {
	Name      pubsub.Topic `json:"topic"`
	Public    bool         `json:"public,omitempty"` // everyone may subscribe to it without a token
	Subscribe Verdict      `json:"subscribe"`
	Broadcast Verdict      `json:"broadcast"`
	Settings  *Settings    `json:"settings,omitempty"` // nil: not known
}

// Settings are those of one topic, and the section of the settings file that they come from.
type Settings struct {
	Section         string   `json:"section,omitempty"` // empty: they are those of all topics without a section
	At              string   `json:"at,omitempty"`      // where the section is, such as notiflux.yaml:14
	History         *History `json:"history,omitempty"` // nil: no message is kept
	Presence        bool     `json:"presence"`
	MaxMessageBytes uint64   `json:"maxMessageBytes"`
}

// A History says how many messages a topic keeps.
type History struct {
	Messages int    `json:"messages"`
	Bytes    uint64 `json:"bytes"`
	Age      string `json:"age"` // such as 5m0s
}

// A Verifier verifies tokens like the server.
type Verifier interface {
	Verify(auth.Token) (*auth.Claims, error)
	Anonymous() *auth.Claims // may be nil
}

// Explain returns the report about a token and some topics. revoked is the server's function
// that says which tokens are revoked; nil: none are. Explain may make a signature check.
func Explain(v Verifier, revoked func(*auth.Claims, pubsub.Topic) error, now time.Time, token auth.Token, topics ...pubsub.Topic) Report {
	if revoked == nil {
		revoked = func(*auth.Claims, pubsub.Topic) error { return nil }
	}
	var r Report
	said, err := auth.DecodeUnverified(token)
	claims := said.Claims
	if err == nil {
		r.describe(said)
	}
	verified, err := v.Verify(token)
	if err == nil {
		claims = verified
		r.Issuer, r.Key = claims.Issuer(), claims.KeyID()
		err = revoked(claims, "")
	}
	r.Verdict = verdict(err)
	for _, name := range topics {
		t := Topic{Name: name, Subscribe: r.Verdict, Broadcast: r.Verdict}
		if anonymous := v.Anonymous(); anonymous != nil {
			t.Public = anonymous.IsPublic(name)
		}
		if r.Allowed {
			t.Subscribe = verdict(claims.Allow(auth.Subscribe, name), claims.CheckUntil(now), revoked(claims, name))
			t.Broadcast = verdict(claims.Allow(auth.Broadcast, name), revoked(claims, name))
		}
		r.Topics = append(r.Topics, t)
	}
	return r
}

// AllowsAll reports whether the token is accepted, and allows each topic with one of the scopes.
func (r *Report) AllowsAll() bool {
	return r.Allowed && !slices.ContainsFunc(r.Topics, func(t Topic) bool { return !t.Subscribe.Allowed && !t.Broadcast.Allowed })
}

// describe sets what the token says.
func (r *Report) describe(said auth.Unverified) {
	c := said.Claims
	r.Subject, r.ID, r.Algorithm, r.Key = c.Subject, c.ID(), said.Algorithm, said.KeyID
	r.Issuer, r.Audiences = said.Issuer, said.Audiences
	r.Issued, r.NotBefore, r.Expires, r.Until = c.IssuedAt().UTC(), said.NotBefore.UTC(), c.Expires().UTC(), c.Until().UTC()
	rights := func(scope auth.Scope) *Rights {
		topics, patterns := c.Rights(scope)
		if len(topics)+len(patterns) == 0 {
			return nil
		}
		return &Rights{topics, patterns}
	}
	r.Subscribe, r.Broadcast = rights(auth.Subscribe), rights(auth.Broadcast)
}

// verdict returns the verdict of the first error.
func verdict(errs ...error) Verdict {
	for _, err := range errs {
		if err != nil {
			e := pubsub.Refusal(err)
			return Verdict{Code: e.Code, Reason: e.Detail}
		}
	}
	return Verdict{Allowed: true}
}

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer, now time.Time) error {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-12s", name)
		fmt.Fprintf(&b, format+"\n", args...)
	}
	line("token:", "%s", r.Verdict)
	if r.Algorithm != "" { // the token could be decoded
		key := r.Algorithm
		if r.Key != "" {
			key += fmt.Sprintf(", kid %q", r.Key)
		}
		line("key:", "%s", key)
		line("user:", "%q", r.Subject)
		if r.Issuer != "" {
			line("issuer:", "%q", r.Issuer)
		}
		if len(r.Audiences) > 0 {
			line("audience:", "%s", quoted(r.Audiences))
		}
		if r.ID != "" {
			line("jti:", "%q", r.ID)
		}
		for _, at := range []struct {
			name string
			time time.Time
		}{{"issued:", r.Issued}, {"not before:", r.NotBefore}, {"expires:", r.Expires}, {"until:", r.Until}} {
			if !at.time.IsZero() {
				line(at.name, "%s (%s)", at.time.Format(time.RFC3339), ago(at.time.Sub(now)))
			}
		}
		line("subscribe:", "%s", r.Subscribe)
		line("broadcast:", "%s", r.Broadcast)
	}
	for _, t := range r.Topics {
		fmt.Fprintf(&b, "\ntopic %q", string(t.Name))
		if t.Public {
			b.WriteString(", which is public: everyone may subscribe to it")
		}
		b.WriteByte('\n')
		line("subscribe:", "%s", t.Subscribe)
		line("broadcast:", "%s", t.Broadcast)
		if t.Settings != nil {
			line("settings:", "%s", t.Settings)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// String returns the verdict as a sentence without a period.
func (v Verdict) String() string {
	if v.Allowed {
		return "accepted"
	}
	return fmt.Sprintf("refused (%s): %s", v.Code, v.Reason)
}

// String returns the settings in a line.
func (s *Settings) String() string {
	section, history, presence := "those of topics without a section", "off", "off"
	if s.Section != "" {
		section = fmt.Sprintf("section %q (%s)", s.Section, s.At)
	}
	if h := s.History; h != nil {
		history = fmt.Sprintf("%d messages, %d bytes, %s", h.Messages, h.Bytes, h.Age)
	}
	if s.Presence {
		presence = "on"
	}
	return fmt.Sprintf("%s; history: %s; presence: %s; message: at most %d bytes", section, history, presence, s.MaxMessageBytes)
}

// String lists the rights.
func (r *Rights) String() string {
	if r == nil {
		return "nothing"
	}
	var parts []string
	if len(r.Topics) > 0 {
		parts = append(parts, quoted(r.Topics))
	}
	for _, pattern := range r.Patterns {
		if pattern == pubsub.AllTopics {
			return "every topic"
		}
		parts = append(parts, fmt.Sprintf("every topic that begins with %q", strings.TrimSuffix(string(pattern), "*")))
	}
	return strings.Join(parts, ", ")
}

// quoted lists texts in quotes.
func quoted[T ~string](texts []T) string {
	parts := make([]string, len(texts))
	for i, text := range texts {
		parts[i] = fmt.Sprintf("%q", string(text))
	}
	return strings.Join(parts, ", ")
}

// ago says when something is, in words such as "in 5m0s" or "5m0s ago".
func ago(d time.Duration) string {
	if d = d.Round(time.Second); d < 0 {
		return (-d).String() + " ago"
	}
	return "in " + d.String()
}
