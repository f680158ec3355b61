package auth

import (
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// A header is the first part of a token. It says how the token is signed.
type header struct {
	algorithm string
	keyID     string // kid; empty: absent
}

// headerNames are the members that decodeHeader knows. It refuses the last six, with which
// a token could choose or change how it is verified (RFC 7515, section 4.1, and RFC 7797).
var headerNames = []string{"alg", "typ", "kid", "crit", "b64", "jwk", "jku", "x5u", "x5c"}

// decodeHeader decodes the header of a token strictly. [Keys.match] then finds the keys for
// the algorithm and kid in it.
func decodeHeader(data []byte) (header, error) {
	var h header
	err := decodeObject(data, headerNames, func(m member) (err error) {
		switch m.name {
		case "alg":
			h.algorithm, err = m.text()
		case "kid":
			if h.keyID, err = m.text(); err == nil && h.keyID == "" {
				err = invalid("kid in the token is empty: name a key, or omit kid")
			}
		case "typ":
			var kind string
			if kind, err = m.text(); err == nil && !isTokenType(kind) {
				err = invalid("typ in the token must be JWT or at+jwt")
			}
		case "crit", "b64", "jwk", "jku", "x5u", "x5c":
			err = invalid("%s in the header of the token is not supported: omit it", m.name)
		}
		return err
	})
	if err == nil && h.algorithm == "" {
		err = invalid("the header of the token has no alg")
	}
	return h, err
}

// names reports whether alg in the header is that of m. EdDSA with an Ed25519 key has a second
// name, Ed25519 (RFC 9864, section 2.2).
func (h header) names(m jwt.SigningMethod) bool {
	return h.algorithm == m.Alg() || h.algorithm == "Ed25519" && m == jwt.SigningMethodEdDSA
}

// isTokenType reports whether typ is the media type of a JWT (RFC 7519, section 5.1) or of
// an access token (RFC 9068, section 2.1). It ignores case and the prefix "application/".
func isTokenType(typ string) bool {
	typ = strings.TrimPrefix(strings.ToLower(typ), "application/")
	return typ == "jwt" || typ == "at+jwt"
}
