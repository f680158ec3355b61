package strictjson

import (
	"bytes"
	"errors"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// ErrLoneSurrogate is in the error chain of [Reader.Member] for a member that contains half
// a surrogate pair: an escape like \ud83d without its other half, as in a text that was cut
// inside an emoji. The text is still JSON, so reading can continue.
var ErrLoneSurrogate = errors.New("lone surrogate")

// loneSurrogate returns the index of an escape of half a surrogate pair without the other
// half, or -1. If text is not JSON, the result does not matter.
func loneSurrogate(text []byte) int {
	for at := 0; ; {
		next := bytes.IndexByte(text[at:], '\\')
		if next < 0 {
			return -1
		}
		at += next
		switch unit, ok := escapedUnit(text[at:]); {
		case !ok:
			at = min(at+len(`\n`), len(text)) // text that is not JSON may end here
		case !utf16.IsSurrogate(unit):
			at += escapeBytes
		default:
			low, _ := escapedUnit(text[at+escapeBytes:])
			if utf16.DecodeRune(unit, low) == utf8.RuneError {
				return at
			}
			at += 2 * escapeBytes
		}
	}
}

const escapeBytes = len(`\u0000`)

// escapedUnit returns the UTF-16 code unit at the beginning of text if that is an escape of
// the form \u0000.
func escapedUnit(text []byte) (unit rune, ok bool) {
	if len(text) < escapeBytes || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(text[2:escapeBytes]), 16, 16)
	return rune(n), err == nil
}
