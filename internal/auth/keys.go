package auth

import (
	"crypto"
	"crypto/sha256"
	"encoding/asn1"
	"fmt"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"

	"github.com/ikornaselur/notiflux/internal/keyfile"
)

// Keys are the public keys that verify tokens. They are immutable and safe for concurrent
// use.
type Keys struct {
	keys       []key
	generation generation
}

// A generation identifies a set of keys: the first bytes of the SHA-256 of all of them.
type generation [8]byte

// A fingerprint identifies a key with its kid: the first bytes of the SHA-256 of both.
type fingerprint [8]byte

// A key is a public key and the only algorithms that it may verify.
type key struct {
	id      string // kid; empty: none, so the key verifies tokens with any kid
	issuer  string // whose key it is; empty: any
	print   fingerprint
	methods []jwt.SigningMethod
	public  crypto.PublicKey
}

// ParseKeys parses public keys; see [keyfile.ParsePublic].
func ParseKeys(data []byte) (*Keys, error) { return newKeys(keyfile.ParsePublic(data)) }

// ParseKeysBase64 parses public keys; see [keyfile.ParsePublicBase64].
func ParseKeysBase64(text string) (*Keys, error) { return newKeys(keyfile.ParsePublicBase64(text)) }

// ParsePublishedKeys parses the JWK Set of an identity provider; see [keyfile.ParsePublished].
func ParsePublishedKeys(data []byte) (k *Keys, skipped []error, err error) {
	parsed, skipped, err := keyfile.ParsePublished(data)
	k, err = newKeys(parsed, err)
	return k, skipped, err
}

// newKeys returns the keys with their fingerprints and their generation, or err if it is not
// nil.
func newKeys(parsed []keyfile.Key, err error) (*Keys, error) {
	if err != nil {
		return nil, err
	}
	k, all := &Keys{keys: make([]key, len(parsed))}, sha256.New()
	for i, p := range parsed {
		one := sha256.New()
		fmt.Fprintf(one, "%q %x", p.ID, p.DER)
		for _, m := range p.Methods {
			fmt.Fprintf(one, " %s", m.Alg())
		}
		k.keys[i] = key{id: p.ID, methods: p.Methods, public: p.Public, print: fingerprint(one.Sum(nil)[:8])}
		all.Write(one.Sum(nil))
	}
	copy(k.generation[:], all.Sum(nil))
	return k, nil
}

// has reports whether k has a key, perhaps as a copy from another set.
func (k *Keys) has(one *key) bool {
	return slices.ContainsFunc(k.keys, func(key key) bool { return key.print == one.print })
}

// Len returns the number of keys.
func (k *Keys) Len() int { return len(k.keys) }

// Equal reports whether both sets have the same keys, in the same order.
func (k *Keys) Equal(other *Keys) bool { return k.generation == other.generation }

// candidates are the keys that may have signed a token, with the token's algorithm.
type candidates struct {
	method jwt.SigningMethod
	keys   []*key
}

// match returns the keys that may have signed a token with this header, at least one. If
// the token has a kid, those are the keys with that kid and, unless named is set, the keys
// without any: signers also write a kid for a key that the server has as PEM. Otherwise they are
// all keys.
func (k *Keys) match(h header, named bool) (c candidates, err error) {
	known := h.keyID == ""
	for i := range k.keys {
		key := &k.keys[i]
		if h.keyID != "" && h.keyID != key.id && (key.id != "" || named) {
			continue
		}
		known = true
		for _, m := range key.methods {
			if h.names(m) {
				c.method, c.keys = m, append(c.keys, key)
			}
		}
	}
	switch {
	case len(k.keys) == 0:
		err = invalid("this server has no keys, so it cannot verify any token")
	case !known:
		err = invalid("kid in the token does not name a key of this server: use the kid of the server's key, or omit kid")
	case c.method == nil && slices.Contains(k.algorithms(), h.algorithm):
		err = invalid("kid in the token names a key for another alg: use the kid of the key that signed the token, or omit kid")
	case c.method == nil:
		err = invalid("the server has no key for the token's alg; it accepts %s", strings.Join(k.algorithms(), " or "))
	}
	return c, err
}

// algorithms returns every alg that a token may have, without duplicates.
func (k *Keys) algorithms() (names []string) {
	for _, key := range k.keys {
		for _, m := range key.methods {
			if !slices.Contains(names, m.Alg()) {
				names = append(names, m.Alg())
			}
		}
	}
	return names
}

// es256Bytes is the length of an ES256 signature (RFC 7518, section 3.4).
const es256Bytes = 64

// checkForm returns signature, or an error if its length shows that no key made it. The
// error says what the signer did wrong.
func (c candidates) checkForm(signature []byte) ([]byte, error) {
	switch n := len(signature); {
	case c.method != jwt.SigningMethodES256 || n == es256Bytes:
		return signature, nil
	case isDER(signature):
		return nil, invalid("the signature of the token is encoded in DER: an ES256 signature is r and s, %d bytes each, concatenated (RFC 7518 section 3.4)", es256Bytes/2)
	default:
		return nil, invalid("the signature of the token has %d bytes; an ES256 signature has %d", n, es256Bytes)
	}
}

// verify returns the key that made the signature of text, or nil if none of the keys did.
func (c candidates) verify(text string, signature []byte) *key {
	for _, key := range c.keys {
		if c.method.Verify(text, signature, key.public) == nil {
			return key
		}
	}
	return nil
}

// isDER reports whether signature is a DER sequence of two integers (RFC 3279, section
// 2.2.3). Nearly everything except JWT encodes ECDSA signatures in this form.
func isDER(signature []byte) bool {
	var numbers struct{ R, S asn1.RawValue }
	rest, err := asn1.Unmarshal(signature, &numbers)
	return err == nil && len(rest) == 0 && numbers.R.Tag == asn1.TagInteger && numbers.S.Tag == asn1.TagInteger
}
