package auth

import "strings"

// A header is what the first part of a token says about its signature.
type header struct {
	algorithm string
	keyID     string // empty: none
}

// headerNames are the members that mean something. The last five would have a
// token choose or change how it is verified (RFC 7515 section 4.1): refused.
var headerNames = []string{"alg", "typ", "kid", "crit", "jwk", "jku", "x5u", "x5c"}

// decodeHeader judges the header of a token, all but the algorithm and the key
// that it names: [Keys.match] does.
func decodeHeader(data []byte) (header, error) {
	var h header
	err := decodeObject(data, headerNames, func(o object, name string) (err error) {
		switch name {
		case "alg":
			h.algorithm, err = o.text(name)
		case "kid":
			if h.keyID, err = o.text(name); err == nil && h.keyID == "" {
				err = invalid("kid in the token is empty: name a key, or leave it out")
			}
		case "typ":
			var kind string
			if kind, err = o.text(name); err == nil && !isTokenType(kind) {
				err = invalid("typ in the token must be JWT or at+jwt")
			}
		case "crit", "jwk", "jku", "x5u", "x5c":
			err = invalid("%s in the header of the token is not supported: leave it out", name)
		default:
			err = o.skip()
		}
		return err
	})
	if err == nil && h.algorithm == "" {
		err = invalid("the token names no alg")
	}
	return h, err
}

// isTokenType reports whether typ is that of a JWT (RFC 7519 section 5.1) or of an
// access token (RFC 9068 section 2.1). It is a media type, in any case, mostly without
// its first half.
func isTokenType(typ string) bool {
	typ = strings.TrimPrefix(strings.ToLower(typ), "application/")
	return typ == "jwt" || typ == "at+jwt"
}
