package httpapi

import (
	"net/http"
	"regexp"
	"strings"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// idempotencyKey is the header with a key, in the spelling of net/http.
const idempotencyKey = "Idempotency-Key"

// takeKey applies the header Idempotency-Key, if present, to a body that is a single
// object.
func (b *broadcast) takeKey(h http.Header) error {
	keys := h[idempotencyKey]
	switch {
	case len(keys) == 0:
		return nil
	case len(keys) > 1:
		return pubsub.Errorf(pubsub.Malformed, "there is more than one Idempotency-Key header: send one")
	case b.array:
		return pubsub.Errorf(pubsub.Malformed, "Idempotency-Key does not apply to an array: give each element its own `key`")
	}
	key, ok := unquote(keys[0])
	if !ok {
		return pubsub.Errorf(pubsub.Malformed, "Idempotency-Key starts with a quote but is not a valid quoted string: end it with a quote, and escape quotes and backslashes inside with a backslash")
	}
	if err := pubsub.CheckKey(key); err != nil {
		return err
	}
	for i := range b.publications {
		p := &b.publications[i]
		if p.Key != "" && p.Key != key {
			return pubsub.Errorf(pubsub.Malformed, "Idempotency-Key and `key` differ: send only one of them")
		}
		p.Key = key
	}
	return nil
}

// quoted matches a string of a structured field and captures the text between its quotes.
// Parameters may follow, with or without a value (RFC 8941, sections 3.3.3 and 3.1.2).
var quoted = regexp.MustCompile(`^"((?:[^"\\]|\\["\\])*)"(?:; *[a-z*][a-z0-9_.*-]*` +
	`(?:=(?:-?[0-9]+(?:\.[0-9]+)?|"(?:[ !#-\[\]-~]|\\["\\])*"|[A-Za-z*][!#$%&'*+.^_\x60|~0-9A-Za-z:/-]*|:[A-Za-z0-9+/=]*:|\?[01]))?)*$`)

// unescape replaces the escapes of such a string.
var unescape = strings.NewReplacer(`\\`, `\`, `\"`, `"`)

// unquote returns s, or the text between its quotes if s is a string of a structured field,
// as in the IETF draft for the header. It ignores parameters after the string. ok is false
// if s begins with a quote but is not such a string.
func unquote(s string) (text string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		return s, true
	}
	m := quoted.FindStringSubmatch(s)
	if m == nil {
		return "", false
	}
	return unescape.Replace(m[1]), true
}
