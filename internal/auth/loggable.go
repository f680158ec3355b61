package auth

import (
	"regexp"
	"unicode/utf8"
)

// maxLoggable is how many bytes of a stranger's text are logged: a topic fits.
const maxLoggable = 256

// tokenLike matches what begins like a JWT, whose header is a JSON object in
// base64url, and what has the three parts of one.
var tokenLike = regexp.MustCompile(`eyJ[\w-]*(\.[\w-]*)*|[\w-]{16,}\.[\w-]{2,}\.[\w-]{32,}`)

// Loggable returns a stranger's text as it may be logged: with REDACTED in place of
// what looks like a token, which a client may have put anywhere, and cut to a
// length that fits a line.
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
