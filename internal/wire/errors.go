package wire

import (
	"log/slog"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// An ErrorResponse is the server's response to an error code: its row in the error table of
// docs/protocol.md.
type ErrorResponse struct {
	Status     int    // HTTP status
	Challenge  string // the error of a WWW-Authenticate: Bearer header (RFC 6750 section 3.1); empty for no header
	RetryAfter int    // seconds in a Retry-After header; 0 for no header
	Retry      bool   // the same request may succeed later
}

// retryAfterSeconds is the value of Retry-After. It is long enough for a restart, and short
// enough for a person to wait.
const retryAfterSeconds = 2

var errorResponses = map[pubsub.Code]ErrorResponse{
	pubsub.Malformed:            {Status: 400},
	pubsub.TopicInvalid:         {Status: 400},
	pubsub.TokenMissing:         {Status: 401, Challenge: "invalid_request"},
	pubsub.TokenInvalid:         {Status: 401, Challenge: "invalid_token"},
	pubsub.TokenExpired:         {Status: 401, Challenge: "invalid_token"},
	pubsub.TokenRevoked:         {Status: 401, Challenge: "invalid_token"},
	pubsub.ScopeDenied:          {Status: 403},
	pubsub.TopicDenied:          {Status: 403},
	pubsub.PresenceOff:          {Status: 403},
	pubsub.OriginDenied:         {Status: 403},
	pubsub.NotFound:             {Status: 404},
	pubsub.MethodNotAllowed:     {Status: 405},
	pubsub.UnknownType:          {Status: 400},
	pubsub.KeyReused:            {Status: 409},
	pubsub.TooLarge:             {Status: 413},
	pubsub.UnsupportedMediaType: {Status: 415},
	pubsub.UpgradeRequired:      {Status: 426},
	pubsub.Idle:                 {Status: 408},
	pubsub.TooMany:              {Status: 429, RetryAfter: retryAfterSeconds, Retry: true},
	pubsub.Internal:             {Status: 500, Retry: true},
	pubsub.OverCapacity:         {Status: 503, RetryAfter: retryAfterSeconds, Retry: true},
	pubsub.OutcomeUnknown:       {Status: 503, RetryAfter: retryAfterSeconds, Retry: true},
	pubsub.Unavailable:          {Status: 503, RetryAfter: retryAfterSeconds, Retry: true},
	pubsub.Draining:             {Status: 503, RetryAfter: retryAfterSeconds, Retry: true},
	pubsub.TooSlow:              {Status: 503, Retry: true}, // the client can resume at once
}

// ErrorResponseOf returns the row of code, or that of [pubsub.Internal] if the table does
// not contain the code.
func ErrorResponseOf(code pubsub.Code) ErrorResponse {
	if r, ok := errorResponses[code]; ok {
		return r
	}
	return errorResponses[pubsub.Internal]
}

// LogLevel returns the level at which a refusal is logged. It is debug for mistakes of
// clients, and for refusals that metrics count, such as over_capacity and draining.
func LogLevel(code pubsub.Code) slog.Level {
	switch code {
	case pubsub.Internal:
		return slog.LevelError
	case pubsub.Unavailable:
		return slog.LevelWarn
	}
	return slog.LevelDebug
}
