package auth

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/strictjson"
)

// errJSON refuses a part of a token that is not strict JSON, or not an object. It omits the
// reason, because the decoder's errors are not safe to send to a client.
var errJSON = invalid("the header and the claims of a token must each be a JSON object without duplicate members")

// invalid returns an error with the code TokenInvalid. Clients see its text.
func invalid(format string, args ...any) *pubsub.Error {
	return pubsub.Errorf(pubsub.TokenInvalid, format, args...)
}

// A member is one member of the header or the claims of a token.
type member struct {
	name   string
	value  jsontext.Value
	reader *strictjson.Reader
}

// decodeObject calls decode with each member of the object in data, in order. decode must
// not keep the member's value.
//
// In addition to what [strictjson.Reader] refuses, decodeObject refuses names that differ
// only in case from each other or from a known name. This ensures that a decoder that
// ignores case, or uses the last of two members, reads the same claims from the same bytes.
func decodeObject(data []byte, known []string, decode func(member) error) error {
	r := new(strictjson.Reader)
	r.Reset(data, "", "")
	if r.BeginObject() != nil {
		return errJSON
	}
	seen := make(map[string]bool, len(known))
	for r.MoreMembers() {
		text, value, err := r.Member()
		if err != nil {
			return errJSON
		}
		name := string(text)
		folded := strings.Map(fold, name)
		if seen[folded] || folded != name && slices.Contains(known, folded) {
			return invalid("the token has a claim or header name with capital letters: names are case-sensitive, so write it in lower case")
		}
		seen[folded] = true
		if err := decode(member{name, value, r}); err != nil {
			return err
		}
	}
	if r.End() != nil {
		return errJSON
	}
	return nil
}

// fold returns the same rune for all runes that differ only in case (Unicode simple
// folding). For ASCII letters it is the lower-case one.
func fold(r rune) rune {
	least := r
	for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
		least = min(least, next)
	}
	return unicode.ToLower(least)
}

// text returns the value, which must be a string.
func (m member) text() (string, error) {
	text, err := m.reader.Text(m.value, m.name)
	if err != nil {
		return "", invalid("%s in the token must be a string", m.name)
	}
	return string(text), nil
}

// words returns the words of the value, which must be a list of words or a string of words
// separated by single spaces (RFC 8693, section 4.2).
func (m member) words() ([]string, error) {
	switch m.value.Kind() {
	case jsontext.KindString:
		text, err := m.text()
		return strings.Split(text, " "), err
	case jsontext.KindBeginArray:
		return m.texts()
	}
	return nil, invalid("%s in the token must be a string or a list of strings", m.name)
}

// texts returns the elements of the value, which must be a list of strings.
func (m member) texts() (list []string, err error) {
	if m.value.Kind() != jsontext.KindBeginArray {
		return nil, invalid("%s in the token must be a list of strings", m.name)
	}
	for value := range strictjson.Elements(m.value) {
		text, err := m.reader.Text(value, m.name)
		if err != nil {
			return nil, invalid("each element of %s in the token must be a string", m.name)
		}
		list = append(list, string(text))
	}
	return list, nil
}

// info returns the claim info as compact JSON, in new memory. An error says why other
// clients cannot see it; it does not make the token invalid.
func (m member) info() ([]byte, error) {
	if m.value.Kind() != jsontext.KindBeginObject {
		return nil, invalid("info in the token must be a JSON object")
	}
	info, err := m.reader.Compact(m.value)
	if err != nil {
		return nil, errJSON
	}
	if len(info) > maxInfoBytes {
		return nil, invalid("info in the token has %d bytes of JSON; the limit is %d", len(info), maxInfoBytes)
	}
	return bytes.Clone(info), nil
}

// maxSeconds is the last second of the year 9999, the last year in RFC 3339.
const maxSeconds = 253402300799

// date returns the value, which must be a NumericDate (RFC 7519, section 2): seconds since
// 1970, with an optional fraction.
func (m member) date() (time.Time, error) {
	if m.value.Kind() != jsontext.KindNumber {
		return time.Time{}, invalid("%s in the token must be a number of seconds since 1970", m.name)
	}
	f, err := strconv.ParseFloat(string(m.value), 64)
	if err != nil || f < 0 || f > maxSeconds {
		return time.Time{}, invalid("%s in the token must be seconds since 1970, up to the year 9999", m.name)
	}
	seconds := int64(f)
	return time.Unix(seconds, int64((f-float64(seconds))*1e9)), nil
}

// instant is like date.
func (m member) instant() (instant, error) {
	t, err := m.date()
	return instantOf(t), err
}

// id returns the value as text that identifies a token, or nil if it is the empty string. It
// must be a string (RFC 7519 section 4.1.7), but a token with another value is worth no less:
// then its JSON identifies the token.
func (m member) id() (*string, error) {
	text := string(m.value)
	if m.value.Kind() == jsontext.KindString {
		var err error
		if text, err = m.text(); text == "" {
			return nil, err
		}
	}
	return &text, nil
}

// audiences returns the value, which should be a string or a list of strings (RFC 7519, section
// 4.1.3). It returns nil if it is not.
func (m member) audiences() []string {
	if m.value.Kind() == jsontext.KindString {
		text, err := m.text()
		if err != nil {
			return nil
		}
		return []string{text}
	}
	list, err := m.texts()
	if err != nil {
		return nil
	}
	return list
}
