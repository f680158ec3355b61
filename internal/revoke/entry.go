package revoke

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// An Entry revokes the tokens that match all of its fields that are set. At least one of ID,
// Subject and Key is set.
type Entry struct {
	ID      string `json:"jti,omitempty"`    // the token's claim jti
	Subject string `json:"sub,omitempty"`    // the token's claim sub
	Key     string `json:"kid,omitempty"`    // of the key that verified the token
	Issuer  string `json:"issuer,omitempty"` // whose key verified the token; empty: any issuer

	// Topic and Pattern limit the entry to one topic, or to the topics that a pattern
	// matches. At most one of them is set. Without them the token is refused everywhere.
	Topic   pubsub.Topic   `json:"topic,omitempty"`
	Pattern pubsub.Pattern `json:"pattern,omitempty"`

	Before  time.Time `json:"before,omitzero"` // of the tokens issued before this time, or without iat; zero: all
	Expires time.Time `json:"expires"`         // when the entry ends; zero in [List.Add]: the default
}

// maxTextBytes limits each text of an entry: a subject has at most that much.
const maxTextBytes = 255

// maxIDBytes limits the jti of an entry. Few tokens have a longer one.
const maxIDBytes = 1024

// check returns a [pubsub.Error] with Malformed if e is not valid.
func (e *Entry) check() error {
	switch {
	case e.ID == "" && e.Subject == "" && e.Key == "":
		return pubsub.Errorf(pubsub.Malformed, "nothing says which tokens to revoke: set jti, sub or kid")
	case e.Topic != "" && e.Pattern != "":
		return pubsub.Errorf(pubsub.Malformed, "an entry has both a topic and a pattern: set one of them")
	}
	for _, part := range []struct {
		name, text string
		most       int
	}{{"jti", e.ID, maxIDBytes}, {"sub", e.Subject, maxTextBytes}, {"kid", e.Key, maxTextBytes}, {"issuer", e.Issuer, maxTextBytes}} {
		switch {
		case len(part.text) > part.most:
			return pubsub.Errorf(pubsub.Malformed, "%s has %d bytes; the limit is %d", part.name, len(part.text), part.most)
		case !utf8.ValidString(part.text):
			return pubsub.Errorf(pubsub.Malformed, "%s is not UTF-8", part.name)
		}
	}
	for _, t := range []time.Time{e.Before, e.Expires} {
		if year := t.UTC().Year(); year < 1 || year > 9999 {
			return pubsub.Errorf(pubsub.Malformed, "a time is in the year %d: use one up to 9999", year)
		}
	}
	if e.Topic != "" {
		if _, err := pubsub.ParseTopic(string(e.Topic)); err != nil {
			return err
		}
	}
	if e.Pattern != "" {
		if _, err := pubsub.ParsePattern(string(e.Pattern)); err != nil {
			return err
		}
	}
	return nil
}

// identity returns e without its times: a list has one entry of each identity.
func (e Entry) identity() Entry {
	e.Before, e.Expires = time.Time{}, time.Time{}
	return e
}

// compare orders entries by their identity.
func (e *Entry) compare(other *Entry) int {
	return cmp.Or(strings.Compare(e.ID, other.ID), strings.Compare(e.Subject, other.Subject), strings.Compare(e.Key, other.Key),
		strings.Compare(e.Issuer, other.Issuer), cmp.Compare(e.Topic, other.Topic), cmp.Compare(e.Pattern, other.Pattern))
}

// widen makes e revoke what other revokes, too. Both have the same identity.
func (e *Entry) widen(other Entry) {
	switch {
	case e.Before.IsZero() || other.Before.IsZero():
		e.Before = time.Time{}
	case other.Before.After(e.Before):
		e.Before = other.Before
	}
	if other.Expires.After(e.Expires) {
		e.Expires = other.Expires
	}
}

// MatchesToken reports whether e revokes tokens with these claims, perhaps only for some topics.
// It does not look at the expiry of e.
func (e *Entry) MatchesToken(c *auth.Claims) bool {
	return (e.ID == "" || e.ID == c.ID()) &&
		(e.Subject == "" || e.Subject == c.Subject) &&
		(e.Key == "" || e.Key == c.KeyID()) &&
		(e.Issuer == "" || e.Issuer == c.Issuer()) &&
		(e.Before.IsZero() || c.IssuedAt().Before(e.Before)) // without iat, the time is zero
}

// matchesTopic reports whether e is for topic. The empty topic is only that of entries for all
// topics. The topic of a pattern is that of every entry for some of what the pattern matches.
func (e *Entry) matchesTopic(topic pubsub.Topic) bool {
	if p, ok := topic.Pattern(); ok {
		return e.Topic == "" && e.Pattern == "" || e.Topic != "" && p.Matches(e.Topic) || e.Pattern != "" && (e.Pattern.Contains(p) || p.Contains(e.Pattern))
	}
	switch {
	case e.Topic != "":
		return e.Topic == topic
	case e.Pattern != "":
		return topic != "" && e.Pattern.Matches(topic)
	}
	return true
}

// String describes e for people, for example `sub "ann", issued before 2026-01-02T03:04:05Z`.
func (e Entry) String() string {
	var parts []string
	for _, part := range []struct{ name, text string }{{"jti", e.ID}, {"sub", e.Subject}, {"kid", e.Key}, {"issuer", e.Issuer}, {"topic", string(e.Topic)}, {"pattern", string(e.Pattern)}} {
		if part.text != "" {
			parts = append(parts, fmt.Sprintf("%s %q", part.name, part.text))
		}
	}
	if !e.Before.IsZero() {
		parts = append(parts, "issued before "+e.Before.UTC().Format(time.RFC3339))
	}
	return strings.Join(parts, ", ")
}

// parseEntry parses an entry in JSON.
func parseEntry(text []byte) (e Entry, err error) {
	if err := json.Unmarshal(text, &e); err != nil {
		return e, err
	}
	e.Before, e.Expires = e.Before.UTC(), e.Expires.UTC() // so that entries can be compared
	return e, e.check()
}
