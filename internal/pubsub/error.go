package pubsub

import (
	"errors"
	"fmt"
	"time"
)

// A Code is the reason for a refusal. Programs switch on it, so a code never changes.
type Code string

// The codes that clients and publishers see.
const (
	Malformed            Code = "malformed"
	TopicInvalid         Code = "topic_invalid"
	TokenMissing         Code = "token_missing"
	TokenInvalid         Code = "token_invalid"
	TokenExpired         Code = "token_expired"
	TokenRevoked         Code = "token_revoked"
	ScopeDenied          Code = "scope_denied"
	TopicDenied          Code = "topic_denied"
	PresenceOff          Code = "presence_off"
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
	TooSlow              Code = "too_slow" // only when a connection ends
	Idle                 Code = "idle"     // only when a connection ends
	Internal             Code = "internal"
)

// An Error is a refusal whose code and sentence any client may see.
type Error struct {
	Code   Code
	Detail string // a sentence without a final period: what is wrong, then what would be right
	Err    error  // the cause, for the log only; may be nil

	Quota *Quota // that the client has used up; nil: none, or it is not known
}

// A Quota is how much a client may do, of which nothing is left.
type Quota struct {
	Policy string        // its name, in lower-case letters and hyphens
	Limit  int           // how often, in Window
	Window time.Duration // a number of seconds; 0: at the same time
	After  time.Duration // when the client may try again; 0: not known
}

// Errorf returns an [Error] with a code and a formatted sentence. Any client may see the
// sentence, so it must not contain a token or the text of another error.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// Error returns the text of the whole chain, for the log.
func (e *Error) Error() string {
	if e.Err != nil {
		return e.Detail + ": " + e.Err.Error()
	}
	return e.Detail
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Refusal returns the part of err that any client may see: the first [Error] in its chain.
// Without one it returns an Error with the code [Internal] and err as its cause.
func Refusal(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Code: Internal, Detail: "the server failed to handle this request: try again later", Err: err}
}
