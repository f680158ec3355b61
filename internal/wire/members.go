package wire

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/strictjson"
)

// The functions in this file check and read members that commands and the bodies of requests
// to read have in common. A nil value means that the member is absent. Errors are
// [pubsub.Error]s with Malformed.

// CheckList returns an error unless a member is an array with an element, which is called one.
func CheckList(topics jsontext.Value, name, one string) error {
	switch {
	case topics.Kind() != jsontext.KindBeginArray:
		return pubsub.Errorf(pubsub.Malformed, "`%s` must be an array of strings", name)
	case bytes.TrimLeft(topics[1:], " \t\r\n")[0] == ']':
		return pubsub.Errorf(pubsub.Malformed, "`%s` is empty: name at least one %s", name, one)
	}
	return nil
}

// ReadText returns a member that is a string, or otherwise if it is absent. Errors call it
// what.
func ReadText(r *strictjson.Reader, value jsontext.Value, what, otherwise string) (string, error) {
	if value == nil {
		return otherwise, nil
	}
	text, err := r.Text(value, what)
	return string(text), err
}

// ReadMode reports whether the member `mode` is latest. If it is absent, it is all.
func ReadMode(r *strictjson.Reader, value jsontext.Value) (latest bool, err error) {
	mode, err := ReadText(r, value, "`mode`", "all")
	if err != nil {
		return false, err
	}
	return IsLatest(mode)
}

// IsLatest reports whether a mode is latest.
func IsLatest(mode string) (latest bool, err error) {
	if mode != "all" && mode != "latest" {
		return false, pubsub.Errorf(pubsub.Malformed, "`mode` must be all or latest")
	}
	return mode == "latest", nil
}

// ReadNumber returns a member that is a whole number, limited to limit, or otherwise if it is
// absent.
func ReadNumber(value jsontext.Value, name string, otherwise, limit int) (int, error) {
	if value == nil {
		return otherwise, nil
	}
	n, ok := strictjson.Whole(value, int64(limit))
	if !ok {
		return 0, ErrNumber(name)
	}
	return int(n), nil
}

// ErrNumber returns the error for a member or parameter that is not a whole number.
func ErrNumber(name string) error {
	return pubsub.Errorf(pubsub.Malformed, "`%s` must be a whole number, 0 or more", name)
}
