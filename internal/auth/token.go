package auth

import (
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"unsafe"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// maxTokenBytes is the maximum length of a token. It leaves room for several hundred
// topics, and limits how much a client can make the server decode and hash.
const maxTokenBytes = 8 << 10

const redacted = "REDACTED"

// A Token is a JWT in compact form (RFC 7515, section 7.1), as a client sends it. It prints
// as REDACTED with every verb, in every log, and in JSON. Only string(t) reveals its bytes.
type Token string

// String returns REDACTED.
func (Token) String() string { return redacted }

// GoString returns REDACTED.
func (Token) GoString() string { return redacted }

// Format writes REDACTED, for every verb.
func (Token) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redacted) }

// LogValue returns REDACTED.
func (Token) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns REDACTED. It applies when a struct with a token is logged as JSON.
func (Token) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Refusals of a token because of its form. They are variables so that a refusal does not
// allocate.
var (
	errTokenMissing = pubsub.Errorf(pubsub.TokenMissing, "a token is required: send it with the request, or once for a WebSocket with the command `auth`")
	errMembersToken = pubsub.Errorf(pubsub.TokenMissing, "a token is required to see the members of a topic or to be one of them: send it with the request, or once for a WebSocket with the command `auth`")
	errTokenLong    = invalid("the token is too long; the limit is %d bytes", maxTokenBytes)
	errTokenForm    = invalid("the token is not a JWT: a JWT has three parts in base64url without padding, separated by dots")
)

// check checks the form of t: its length, its three parts, and their encoding. It reads
// each byte at most once, and neither hashes nor allocates.
func (t Token) check() error {
	switch {
	case t == "":
		return errTokenMissing
	case len(t) > maxTokenBytes:
		return errTokenLong
	}
	header, payload, signature := t.parts()
	if !isBase64URL(header) || !isBase64URL(payload) || !isBase64URL(signature) {
		return errTokenForm
	}
	return nil
}

// parts returns the three parts of t. If t has fewer parts, the missing ones are empty. If
// it has more, signature is the whole rest, with its dots.
func (t Token) parts() (header, payload, signature string) {
	header, rest, _ := strings.Cut(string(t), ".")
	payload, signature, _ = strings.Cut(rest, ".")
	return header, payload, signature
}

// isBase64URL reports whether s is not empty and is unpadded base64url in canonical form
// (RFC 4648, sections 3.5 and 5). The decoder of the standard library is too lenient: it
// skips newlines, and ignores the unused bits of the last digit.
func isBase64URL(s string) bool {
	if s == "" {
		return false
	}
	for i := range len(s) {
		if sextets[s[i]] == noSextet {
			return false
		}
	}
	last := sextets[s[len(s)-1]]
	switch len(s) % 4 {
	case 1:
		return false
	case 2:
		return last&0b1111 == 0
	case 3:
		return last&0b11 == 0
	}
	return true
}

const noSextet = 0xff

// sextets maps each base64url digit to its value, and every other byte to noSextet.
var sextets = func() (table [256]uint8) {
	for i := range table {
		table[i] = noSextet
	}
	for i, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
		table[c] = uint8(i)
	}
	return table
}()

// A digest is the SHA-256 of a token. It identifies the token without revealing it.
type digest [sha256.Size]byte

// digest returns the digest of t. It does not allocate.
func (t Token) digest() digest {
	return sha256.Sum256(unsafe.Slice(unsafe.StringData(string(t)), len(t))) // Sum256 only reads
}
