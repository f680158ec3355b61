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

// Loggable returns text from a client in a form that is safe to log. It replaces anything
// that looks like a token with REDACTED, because clients put tokens anywhere. It cuts text
// over 256 bytes and adds an ellipsis.
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
