package auth

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/ikornaselur/notiflux"
)

// errJSON says that a part of a token is not what it must be; never why, as
// the words of the decoder are not for strangers.
var errJSON = invalid("the header and the claims of a token are one JSON object each, without duplicate members")

// invalid returns what is told about a token that is wrong in itself.
func invalid(format string, args ...any) *notiflux.Error {
	return notiflux.Errorf(notiflux.TokenInvalid, format, args...)
}

// An object reads a part of a token: the one JSON object that it must hold.
type object struct {
	dec *jsontext.Decoder
}

// decodeObject calls member with the name of each member of the object in
// data, in order. The call reads the value by one of the methods of object.
//
// Refused are duplicate names at any depth and names of the object that differ
// only by case, from one another or from the known ones, so that no decoder
// elsewhere, one that ignores case or takes the last of two, reads something
// else from the same bytes; and whatever follows the object.
func decodeObject(data []byte, known []string, member func(o object, name string) error) error {
	err := object{jsontext.NewDecoder(bytes.NewBuffer(data))}.decode(known, member)
	if err == nil {
		return nil
	}
	if refusal, ok := errors.AsType[*notiflux.Error](err); ok {
		return refusal
	}
	return errJSON
}

func (o object) decode(known []string, member func(o object, name string) error) error {
	if err := o.open('{'); err != nil {
		return err
	}
	seen := make(map[string]bool, len(known))
	for o.dec.PeekKind() != '}' {
		token, err := o.dec.ReadToken()
		if err != nil {
			return err
		}
		name := token.String()
		folded := strings.Map(fold, name)
		if seen[folded] || folded != name && slices.Contains(known, folded) {
			return invalid("the token has a member whose name differs from another only by case: names are written in lower case")
		}
		seen[folded] = true
		if err := member(o, name); err != nil {
			return err
		}
	}
	if _, err := o.dec.ReadToken(); err != nil {
		return err
	}
	if _, err := o.dec.ReadToken(); err != io.EOF {
		return errJSON
	}
	return nil
}

// fold returns what all characters have in common that are the same as r when
// case is ignored (Unicode simple folding); of ASCII letters, the small one.
func fold(r rune) rune {
	least := r
	for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
		least = min(least, next)
	}
	return unicode.ToLower(least)
}

// open reads the bracket that begins an object or a list.
func (o object) open(kind jsontext.Kind) error {
	token, err := o.dec.ReadToken()
	if err != nil {
		return err
	}
	if token.Kind() != kind {
		return errJSON
	}
	return nil
}

// skip passes over a value that means nothing here.
func (o object) skip() error { return o.dec.SkipValue() }

// text reads the string that the member of this name must be.
func (o object) text(name string) (string, error) {
	if o.dec.PeekKind() != '"' {
		return "", invalid("%s in the token must be a string", name)
	}
	token, err := o.dec.ReadToken()
	if err != nil {
		return "", err
	}
	return token.String(), nil
}

// isNull reports whether the value is null. It reads nothing.
func (o object) isNull() bool { return o.dec.PeekKind() == 'n' }

// words reads the member of this name, a string of words with a space between each
// two (RFC 8693 section 4.2) or a list of words.
func (o object) words(name string) ([]string, error) {
	switch o.dec.PeekKind() {
	case '"':
		text, err := o.text(name)
		return strings.Split(text, " "), err
	case '[':
		return o.texts(name)
	}
	return nil, invalid("%s in the token must be a string, or a list of strings", name)
}

// texts reads the list of strings that the member of this name must be.
func (o object) texts(name string) ([]string, error) {
	if o.dec.PeekKind() != '[' {
		return nil, invalid("%s in the token must be a list of strings", name)
	}
	if err := o.open('['); err != nil {
		return nil, err
	}
	var list []string
	for o.dec.PeekKind() != ']' {
		s, err := o.text("each of " + name)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	_, err := o.dec.ReadToken()
	return list, err
}

// info reads the claim info: a JSON object that others may see. What cannot be shown
// is told to who wants to show it, and is no fault of the token otherwise.
func (o object) info() (info []byte, unfit, err error) {
	value, err := o.dec.ReadValue()
	if err != nil {
		return nil, nil, err
	}
	if value.Kind() != '{' {
		return nil, invalid("info in the token must be a JSON object"), nil
	}
	if info, err = jsontext.AppendFormat(nil, value); err != nil {
		return nil, nil, err
	}
	if len(info) > maxInfoBytes {
		return nil, invalid("info in the token has %d bytes of JSON, the limit is %d", len(info), maxInfoBytes), nil
	}
	return info, nil, nil
}

// maxSeconds is the end of the year 9999, the last that RFC 3339 can write.
const maxSeconds = 253402300799

// date reads the NumericDate (RFC 7519 section 2) that the member of this name
// must be: seconds since 1970, a fraction is allowed.
func (o object) date(name string) (time.Time, error) {
	if o.dec.PeekKind() != '0' {
		return time.Time{}, invalid("%s in the token must be a number of seconds since 1970", name)
	}
	number, err := o.dec.ReadValue()
	if err != nil {
		return time.Time{}, err
	}
	f, err := strconv.ParseFloat(string(number), 64)
	if err != nil || f < 0 || f > maxSeconds {
		return time.Time{}, invalid("%s in the token must be seconds since 1970, up to the year 9999", name)
	}
	seconds := int64(f)
	return time.Unix(seconds, int64((f-float64(seconds))*1e9)), nil
}
