package auth

import (
	"regexp"
	"unicode/utf8"
)

// maxLoggable is how many bytes of a client's text are logged. A topic fits.
const maxLoggable = 256

// tokenLike matches text that begins like a JWT, whose header is a JSON object in
// base64url, and text with three parts like those of a JWT.
var tokenLike = regexp.MustCompile(`eyJ[\w-]*(\.[\w-]*)*|[\w-]{16,}\.[\w-]{2,}\.[\w-]{32,}`)

// Loggable returns text of a client in a form that may be logged: what looks like a token
// is replaced by REDACTED, because clients put tokens anywhere, and text over 256 bytes
// is cut and ends in an ellipsis.
func Loggable(s string) string {
	s = tokenLike.ReplaceAllString(s, redacted)
	if len(s) <= maxLoggable {
		return s
	}
	end := maxLoggable
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}
