package auth

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

const maxKeys = 16 // a single token may cost a signature check with each of them

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

// ParseKeys parses 1 to 16 public keys: PEM blocks of type PUBLIC KEY (RFC 7468, section
// 13), a JWK, or a JWK Set (RFC 7517). Supported are P-256, Ed25519, and RSA keys of at
// least 2,048 bits. A JWK may have a kid. ParseKeys skips EC PARAMETERS, and keys of a set
// that cannot verify tokens. For anything else, such as a private key, it returns an error
// that says what would be right.
func ParseKeys(data []byte) (*Keys, error) {
	if err := mistake(data); err != nil {
		return nil, err
	}
	parse := parsePEMKeys
	if isJSON(data) {
		parse = parseJWKs
	}
	keys, err := parse(data)
	if err != nil {
		return nil, err
	}
	if len(keys) > maxKeys {
		return nil, fmt.Errorf("there are %d public keys; the limit is %d", len(keys), maxKeys)
	}
	return newKeys(keys)
}

// newKeys returns the keys with their fingerprints and their generation.
func newKeys(keys []key) (*Keys, error) {
	k, all := &Keys{keys: keys}, sha256.New()
	for i := range keys {
		key := &keys[i]
		der, err := x509.MarshalPKIXPublicKey(key.public)
		if err != nil {
			return nil, fmt.Errorf("encode public key: %w", err)
		}
		one := sha256.New()
		fmt.Fprintf(one, "%q %x", key.id, der)
		for _, m := range key.methods {
			fmt.Fprintf(one, " %s", m.Alg())
		}
		copy(key.print[:], one.Sum(nil))
		all.Write(one.Sum(nil))
	}
	copy(k.generation[:], all.Sum(nil))
	return k, nil
}

// has reports whether k has a key, perhaps as a copy from another set.
func (k *Keys) has(one *key) bool {
	return slices.ContainsFunc(k.keys, func(key key) bool { return key.print == one.print })
}

// ParseKeysBase64 parses the same formats as [ParseKeys], encoded in base64 as the command
// base64 prints it. It ignores white space.
func ParseKeysBase64(b64 string) (*Keys, error) {
	text := strings.TrimSpace(b64)
	switch {
	case isQuoted(text):
		return nil, errors.New("the value is in quotes: remove them (`docker run --env-file` keeps quotes)")
	case strings.Contains(text, pemBegin):
		return nil, errors.New("this is plain PEM: encode it in base64, as `base64 < es256_public.pem` does")
	case isJSON([]byte(text)):
		return nil, errors.New("this is plain JSON: encode it in base64, as `base64 < jwks.json` does")
	case strings.Contains(text, `\n`):
		return nil, errors.New("the value has line breaks that are written as the two characters \\n: remove them (`base64 < es256_public.pem | tr -d '\\n'` prints the key without any)")
	}
	data, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		return nil, errors.New("this is not valid base64: use the complete output of `base64 < es256_public.pem`")
	}
	return ParseKeys(data)
}

func isJSON(data []byte) bool { return bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) }

func parsePEMKeys(data []byte) ([]key, error) {
	blocks, err := pemBlocks(data)
	if err != nil {
		return nil, err
	}
	keys := make([]key, 0, len(blocks))
	for _, b := range blocks {
		k, err := parsePublicKey(b)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}

func parsePublicKey(b *pem.Block) (key, error) {
	switch {
	case strings.HasSuffix(b.Type, "PRIVATE KEY"):
		return key{}, errors.New("this is a private key, which must stay secret: use the public key, made with `openssl ec -in es256_private.pem -pubout`")
	case b.Type == "CERTIFICATE":
		return key{}, errors.New("this is a certificate: use the public key in it, as `openssl x509 -in cert.pem -noout -pubkey` prints it")
	case b.Type == "RSA PUBLIC KEY":
		return key{}, fmt.Errorf("this is a PEM block of type %q: a public key has type PUBLIC KEY, as `openssl rsa -RSAPublicKey_in -in key.pem -pubout` writes it", b.Type)
	case b.Type != "PUBLIC KEY":
		return key{}, fmt.Errorf("this is a PEM block of type %q: a public key has type PUBLIC KEY, as `openssl ec -pubout` writes it", b.Type)
	}
	public, err := x509.ParsePKIXPublicKey(b.Bytes)
	if err != nil {
		return key{}, publicKeyMistake(b.Bytes)
	}
	methods, err := methodsOf(public)
	return key{methods: methods, public: public}, err
}

// rightKey is advice for the end of an error about a key.
const rightKey = "a P-256 key is made with `openssl ecparam -name prime256v1 -genkey -noout`"

// methodPS256 is PS256 with a salt as long as the hash (RFC 7518, section 3.5).
// jwt.SigningMethodPS256 accepts signatures with a salt of any length.
var methodPS256 = &jwt.SigningMethodRSAPSS{
	SigningMethodRSA: jwt.SigningMethodPS256.SigningMethodRSA,
	Options:          jwt.SigningMethodPS256.Options,
}

// methodsOf returns the algorithms that public may verify. A [Signer] uses the first.
func methodsOf(public crypto.PublicKey) ([]jwt.SigningMethod, error) {
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return nil, fmt.Errorf("a key on the curve %s cannot be used; %s", k.Curve.Params().Name, rightKey)
		}
		return []jwt.SigningMethod{jwt.SigningMethodES256}, nil
	case ed25519.PublicKey:
		return []jwt.SigningMethod{jwt.SigningMethodEdDSA}, checkEd25519(k)
	case *rsa.PublicKey:
		return []jwt.SigningMethod{jwt.SigningMethodRS256, methodPS256}, checkRSA(k)
	}
	return nil, fmt.Errorf("a key of this kind (%T) cannot be used; %s", public, rightKey)
}

// candidates are the keys that may have signed a token, with the token's algorithm.
type candidates struct {
	method jwt.SigningMethod
	keys   []*key
}

// match returns the keys that may have signed a token with this header, at least one. If
// the token has a kid, those are the keys with that kid and the keys without any: signers
// also write a kid for a key that the server has as PEM. Otherwise they are all keys.
func (k *Keys) match(h header) (c candidates, err error) {
	known := h.keyID == ""
	for i := range k.keys {
		key := &k.keys[i]
		if h.keyID != "" && key.id != "" && h.keyID != key.id {
			continue
		}
		known = true
		for _, m := range key.methods {
			if m.Alg() == h.algorithm {
				c.method, c.keys = m, append(c.keys, key)
			}
		}
	}
	switch {
	case len(k.keys) == 0:
		err = invalid("this server has no keys, so it cannot verify any token")
	case !known:
		err = invalid("kid in the token does not name a key of this server: use the kid of the server's key, or omit kid")
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

const pemBegin = "-----BEGIN "

// pemBlocks returns the PEM blocks in data, at least one. It omits EC PARAMETERS, which
// `openssl ecparam -genkey` writes before the key and which the key repeats.
func pemBlocks(data []byte) ([]*pem.Block, error) {
	begun := bytes.Count(data, []byte(pemBegin))
	var blocks []*pem.Block
	for b, rest := pem.Decode(data); b != nil; b, rest = pem.Decode(rest) {
		begun--
		if b.Type != "EC PARAMETERS" {
			blocks = append(blocks, b)
		}
	}
	switch {
	case begun > 0: // pem.Decode skips blocks that it cannot read
		return nil, errors.New("a PEM block cannot be read: check that it is complete, from its BEGIN line to its END line")
	case len(blocks) == 0:
		return nil, errors.New("there is no key here: a key in PEM starts with a line like -----BEGIN PUBLIC KEY-----")
	}
	return blocks, nil
}
