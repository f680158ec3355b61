// Package keyfile reads and writes keys in the forms in which files hold them: PEM (RFC 7468),
// and for public keys also a JWK or a JWK Set (RFC 7517).
//
// It accepts P-256, Ed25519, and RSA keys of at least 2,048 bits. Errors say what is wrong
// with the text, which is often damaged on its way from a tool into a setting, and what would
// be right. They never contain the text.
//
// The package verifies and signs nothing; internal/auth does.
package keyfile

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

const maxKeys = 16 // a single token may cost a signature check with each of them

// A Key is a public key and the only algorithms that it may verify.
type Key struct {
	ID      string // kid; empty: none
	Methods []jwt.SigningMethod
	Public  crypto.PublicKey
	DER     []byte // Public as a SubjectPublicKeyInfo
}

// ParsePublic parses 1 to 16 public keys: PEM blocks of type PUBLIC KEY (RFC 7468, section
// 13), a JWK, or a JWK Set (RFC 7517). A JWK may have a kid. ParsePublic skips EC PARAMETERS,
// and keys of a set that cannot verify tokens. For anything else, such as a private key, it
// returns an error that says what would be right.
func ParsePublic(data []byte) ([]Key, error) {
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
	return keys, encode(keys)
}

// encode sets the DER of keys.
func encode(keys []Key) (err error) {
	for i := range keys {
		if keys[i].DER, err = x509.MarshalPKIXPublicKey(keys[i].Public); err != nil {
			return fmt.Errorf("encode public key: %w", err)
		}
	}
	return nil
}

// ParsePublicBase64 parses the same formats as [ParsePublic], encoded in base64 as the command
// base64 prints it. It ignores white space.
func ParsePublicBase64(b64 string) ([]Key, error) {
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
	return ParsePublic(data)
}

func isJSON(data []byte) bool { return bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) }

func parsePEMKeys(data []byte) ([]Key, error) {
	blocks, err := pemBlocks(data)
	if err != nil {
		return nil, err
	}
	keys := make([]Key, 0, len(blocks))
	for _, b := range blocks {
		k, err := parsePublicKey(b)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}

func parsePublicKey(b *pem.Block) (Key, error) {
	switch {
	case strings.HasSuffix(b.Type, "PRIVATE KEY"):
		return Key{}, errors.New("this is a private key, which must stay secret: use the public key, made with `openssl ec -in es256_private.pem -pubout`")
	case b.Type == "CERTIFICATE":
		return Key{}, errors.New("this is a certificate: use the public key in it, as `openssl x509 -in cert.pem -noout -pubkey` prints it")
	case b.Type == "RSA PUBLIC KEY":
		return Key{}, fmt.Errorf("this is a PEM block of type %q: a public key has type PUBLIC KEY, as `openssl rsa -RSAPublicKey_in -in key.pem -pubout` writes it", b.Type)
	case b.Type != "PUBLIC KEY":
		return Key{}, fmt.Errorf("this is a PEM block of type %q: a public key has type PUBLIC KEY, as `openssl ec -pubout` writes it", b.Type)
	}
	public, err := x509.ParsePKIXPublicKey(b.Bytes)
	if err != nil {
		return Key{}, publicKeyMistake(b.Bytes)
	}
	methods, err := Methods(public)
	return Key{Methods: methods, Public: public}, err
}

// rightKey is advice for the end of an error about a key.
const rightKey = "a P-256 key is made with `openssl ecparam -name prime256v1 -genkey -noout`"

// methodPS256 is PS256 with a salt as long as the hash (RFC 7518, section 3.5).
// jwt.SigningMethodPS256 accepts signatures with a salt of any length.
var methodPS256 = &jwt.SigningMethodRSAPSS{
	SigningMethodRSA: jwt.SigningMethodPS256.SigningMethodRSA,
	Options:          jwt.SigningMethodPS256.Options,
}

// Methods returns the algorithms that public may verify, at least one. Signers use the first.
func Methods(public crypto.PublicKey) ([]jwt.SigningMethod, error) {
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
