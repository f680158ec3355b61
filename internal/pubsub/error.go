package pubsub

import (
	"errors"
	"fmt"
)

// A Code names a reason for a refusal. Programs switch on it; it never changes.
type Code string

// The codes that clients and publishers see.
const (
	Malformed            Code = "malformed"
	TopicInvalid         Code = "topic_invalid"
	TokenMissing         Code = "token_missing"
	TokenInvalid         Code = "token_invalid"
	TokenExpired         Code = "token_expired"
	ScopeDenied          Code = "scope_denied"
	TopicDenied          Code = "topic_denied"
	OriginDenied         Code = "origin_denied"
	NotFound             Code = "not_found"
	MethodNotAllowed     Code = "method_not_allowed"
	UnknownType          Code = "unknown_type"
	TooLarge             Code = "too_large"
	UnsupportedMediaType Code = "unsupported_media_type"
	UpgradeRequired      Code = "upgrade_required"
	KeyReused            Code = "key_reused"
	TooMany              Code = "too_many"
	OverCapacity         Code = "over_capacity"
	OutcomeUnknown       Code = "outcome_unknown" // of a broadcast: it may have been published
	Unavailable          Code = "unavailable"
	Draining             Code = "draining"
	TooSlow              Code = "too_slow" // only of a connection that ends
	Idle                 Code = "idle"     // only of a connection that ends
	Internal             Code = "internal"
)

// An Error is a refusal whose code and sentence any client may see.
type Error struct {
	Code   Code
	Detail string // a sentence without a full stop that names the problem and what would be right
	Err    error  // the cause, for the log only; nil for none
}

// Errorf returns an [Error] with a code and a formatted sentence. Any client may see the
// sentence: it must not contain a token or the text of another error.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// Error returns the whole chain, for the log.
func (e *Error) Error() string {
	if e.Err != nil {
		return e.Detail + ": " + e.Err.Error()
	}
	return e.Detail
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Refusal returns the part of err that any client may see: the first [Error] in its chain,
// or one with the code [Internal] and no details.
func Refusal(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Code: Internal, Detail: "the server failed to handle this request: try again later", Err: err}
}
