package wire

import (
	"log/slog"

	"github.com/ikornaselur/notiflux"
)

// An ErrorResponse says how the server answers with an error: the row of its code in the
// error table of docs/protocol.md.
type ErrorResponse struct {
	Status     int    // HTTP status
	Challenge  string // the error of a WWW-Authenticate: Bearer header (RFC 6750 section 3.1); empty for no header
	RetryAfter int    // seconds in a Retry-After header; 0 for no header
	Retry      bool   // the same request may succeed later
}

// retryAfterSeconds is the value of Retry-After headers. It is long enough for a restart and
// short enough for a person to wait.
const retryAfterSeconds = 2

var errorResponses = map[notiflux.Code]ErrorResponse{
	notiflux.Malformed:            {Status: 400},
	notiflux.TopicInvalid:         {Status: 400},
	notiflux.TokenMissing:         {Status: 401, Challenge: "invalid_request"},
	notiflux.TokenInvalid:         {Status: 401, Challenge: "invalid_token"},
	notiflux.TokenExpired:         {Status: 401, Challenge: "invalid_token"},
	notiflux.ScopeDenied:          {Status: 403},
	notiflux.TopicDenied:          {Status: 403},
	notiflux.OriginDenied:         {Status: 403},
	notiflux.NotFound:             {Status: 404},
	notiflux.MethodNotAllowed:     {Status: 405},
	notiflux.UnknownType:          {Status: 400},
	notiflux.KeyReused:            {Status: 409},
	notiflux.TooLarge:             {Status: 413},
	notiflux.UnsupportedMediaType: {Status: 415},
	notiflux.UpgradeRequired:      {Status: 426},
	notiflux.Idle:                 {Status: 408},
	notiflux.TooMany:              {Status: 429, RetryAfter: retryAfterSeconds, Retry: true},
	notiflux.Internal:             {Status: 500, Retry: true},
	notiflux.OverCapacity:         {Status: 503, RetryAfter: retryAfterSeconds, Retry: true},
	notiflux.OutcomeUnknown:       {Status: 503, RetryAfter: retryAfterSeconds, Retry: true},
	notiflux.Unavailable:          {Status: 503, RetryAfter: retryAfterSeconds, Retry: true},
	notiflux.Draining:             {Status: 503, RetryAfter: retryAfterSeconds, Retry: true},
	notiflux.TooSlow:              {Status: 503, Retry: true}, // The client can resume at once.
}

// ErrorResponseOf returns the row of code. A code that is not in the table has the row of
// [notiflux.Internal].
func ErrorResponseOf(code notiflux.Code) ErrorResponse {
	if r, ok := errorResponses[code]; ok {
		return r
	}
	return errorResponses[notiflux.Internal]
}

// LogLevel returns the level at which a refusal is logged. It is debug for mistakes of
// clients, and for refusals that metrics count (over capacity, draining).
func LogLevel(code notiflux.Code) slog.Level {
	switch code {
	case notiflux.Internal:
		return slog.LevelError
	case notiflux.Unavailable:
		return slog.LevelWarn
	}
	return slog.LevelDebug
}
