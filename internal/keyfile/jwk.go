package keyfile

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"

	"github.com/ikornaselur/notiflux/internal/strictjson"
)

// A jwk holds the members of a JSON Web Key that this package uses (RFC 7517, section 4). A
// member that is absent or null is empty.
type jwk struct {
	kind       string // kty
	id         string
	use        string
	operations []string // key_ops; nil: absent
	algorithm  string

	// Parameters of the public key. All except curve are unpadded base64url (RFC 7518,
	// section 6, and RFC 8037).
	curve, x, y, n, e string
}

// privateMembers are the members of private keys (RFC 7518, section 6, and RFC 8037).
// Symmetric keys have k instead.
var privateMembers = []string{"d", "p", "q", "dp", "dq", "qi", "oth"}

var errJWK = errors.New("this is JSON, but not a JWK or a JWK Set: use public keys as defined in RFC 7517, such as {\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",…}]}")

// parseJWKs parses a JWK or a JWK Set.
func parseJWKs(data []byte) ([]Key, error) {
	m, err := decodeMembers(data)
	if err != nil {
		return nil, errJWK
	}
	if value, ok := m["keys"]; ok {
		return parseJWKSet(value)
	}
	if kind, ok := m["kty"]; !ok || kind.Kind() != '"' {
		return nil, errJWK
	}
	k, err := parseJWK(data)
	if err != nil {
		return nil, err
	}
	return []Key{k}, nil
}

// ParsePublished parses the JWK Set that an identity provider publishes. It skips keys that
// cannot verify tokens, and secret ones, and returns why in skipped. It returns an error if
// there are no usable keys or more than 16.
func ParsePublished(data []byte) (keys []Key, skipped []error, err error) {
	m, err := decodeMembers(data)
	if err != nil || m["keys"].Kind() != jsontext.KindBeginArray {
		return nil, nil, errors.New("this is not a JWK Set, which is a JSON object with a list of keys in the member \"keys\" (RFC 7517)")
	}
	for i, data := range slices.Collect(strictjson.Elements(m["keys"])) {
		if k, err := parseJWK(data); err != nil {
			skipped = append(skipped, fmt.Errorf("key %s: %w", keyName(i, data), err))
		} else {
			keys = append(keys, k)
		}
	}
	switch {
	case len(keys) > maxKeys:
		return nil, skipped, fmt.Errorf("the JWK Set has %d usable keys; the limit is %d", len(keys), maxKeys)
	case len(skipped) > 0 && len(keys) == 0:
		return nil, skipped, fmt.Errorf("no key of the JWK Set can verify tokens; %w", skipped[0])
	case len(keys) == 0:
		return nil, nil, errors.New("the JWK Set has no keys")
	}
	return keys, skipped, encode(keys)
}

// parseJWKSet returns the keys of a set that can verify tokens, at least one. It skips
// others (RFC 7517, section 5), because identity providers also publish keys for other
// purposes in the same set. A secret key is an error.
func parseJWKSet(value jsontext.Value) (keys []Key, err error) {
	if value.Kind() != jsontext.KindBeginArray {
		return nil, errJWK
	}
	var unusable error
	for i, data := range slices.Collect(strictjson.Elements(value)) {
		k, err := parseJWK(data)
		switch {
		case err == nil:
			keys = append(keys, k)
		case errors.Is(err, errSecret):
			return nil, fmt.Errorf("key %s of the JWK Set: %w", keyName(i, data), err)
		case unusable == nil:
			unusable = fmt.Errorf("no key of the JWK Set can be used; key %s: %w", keyName(i, data), err)
		}
	}
	switch {
	case len(keys) > 0:
		return keys, nil
	case unusable != nil:
		return nil, unusable
	}
	return nil, errors.New("the JWK Set has no keys")
}

// keyName describes the key at index i of a set by its number, counted from 1, and its kid.
func keyName(i int, data jsontext.Value) string {
	m, _ := decodeMembers(data)
	var id string
	if json.Unmarshal(m["kid"], &id) != nil || id == "" {
		return strconv.Itoa(i + 1)
	}
	return fmt.Sprintf("%d (kid %.80q)", i+1, id)
}

// errSecret is in the chain of errors about keys that the server must not have.
var errSecret = errors.New("use public keys only")

func parseJWK(data jsontext.Value) (Key, error) {
	m, err := decodeMembers(data)
	isPrivate := func(name string) bool { return m[name] != nil }
	switch { // secrets first, even if something else is wrong with the key
	case m["k"] != nil || string(m["kty"]) == `"oct"`:
		return Key{}, fmt.Errorf("this is a symmetric JWK (kty oct), with which anyone who can verify tokens can also sign them; %w: EC, OKP or RSA", errSecret)
	case slices.ContainsFunc(privateMembers, isPrivate):
		return Key{}, fmt.Errorf("this is a private JWK, which must stay secret; %w: remove d, p, q, dp, dq, qi and oth", errSecret)
	case err != nil:
		return Key{}, err
	}
	k, err := decodeJWK(m)
	if err != nil {
		return Key{}, err
	}
	return k.key()
}

// decodeMembers returns the members of an object that are not null. If a name occurs twice,
// it returns both an error and the members.
func decodeMembers(data jsontext.Value) (m map[string]jsontext.Value, err error) {
	if !data.IsValid(jsontext.AllowDuplicateNames(true)) || data.Kind() != jsontext.KindBeginObject {
		return nil, errors.New("a JWK must be a JSON object")
	}
	m, seen := make(map[string]jsontext.Value), make(map[string]bool)
	for name, value := range strictjson.Members(data) {
		if seen[name] {
			err = fmt.Errorf("the JWK has the member %.80q twice", name)
		}
		seen[name] = true
		if value.Kind() != jsontext.KindNull {
			m[name] = value
		}
	}
	return m, err
}

// decodeJWK decodes the members of a [jwk] and ignores others.
func decodeJWK(m map[string]jsontext.Value) (k jwk, err error) {
	for _, member := range []struct {
		name string
		text *string
	}{
		{"kty", &k.kind}, {"kid", &k.id}, {"use", &k.use}, {"alg", &k.algorithm},
		{"crv", &k.curve}, {"x", &k.x}, {"y", &k.y}, {"n", &k.n}, {"e", &k.e},
	} {
		if value, ok := m[member.name]; ok && json.Unmarshal(value, member.text) != nil {
			return jwk{}, fmt.Errorf("the JWK member %q is not a string", member.name)
		}
	}
	if value, ok := m["key_ops"]; ok && json.Unmarshal(value, &k.operations) != nil {
		return jwk{}, errors.New("the JWK member \"key_ops\" is not a list of strings")
	}
	return k, nil
}

// key returns the key that k describes, or an error if it cannot verify tokens.
func (k *jwk) key() (Key, error) {
	switch {
	case k.use != "" && k.use != "sig":
		return Key{}, fmt.Errorf("the JWK member \"use\" is %q: in a key that verifies tokens it must be \"sig\" or absent", k.use)
	case k.operations != nil && !slices.Contains(k.operations, "verify"):
		return Key{}, errors.New("the JWK member \"key_ops\" lacks \"verify\": in a key that verifies tokens it must contain \"verify\" or be absent")
	}
	public, err := k.public()
	if err != nil {
		return Key{}, err
	}
	methods, err := Methods(public)
	if err != nil {
		return Key{}, err
	}
	if k.algorithm != "" {
		var all []string
		for _, m := range methods {
			all = append(all, m.Alg())
		}
		methods = slices.DeleteFunc(slices.Clone(methods), func(m jwt.SigningMethod) bool {
			return m.Alg() != k.algorithm && (k.algorithm != "Ed25519" || m != jwt.SigningMethodEdDSA) // RFC 9864 renamed it
		})
		if len(methods) == 0 {
			return Key{}, fmt.Errorf("the JWK member \"alg\" is %q: in a key of this type it must be %s or absent", k.algorithm, strings.Join(all, " or "))
		}
	}
	return Key{ID: k.id, Methods: methods, Public: public}, nil
}

// public returns the public key that the parameters of k describe.
func (k *jwk) public() (crypto.PublicKey, error) {
	switch k.kind {
	case "EC":
		if k.curve != "P-256" {
			return nil, fmt.Errorf("a key on the curve %s cannot be used; %s", k.curve, rightKey)
		}
		x, y := decodeParameter(k.x), decodeParameter(k.y)
		if len(x) != 32 || len(y) != 32 {
			return nil, errors.New("x and y of a JWK on P-256 must be 32 bytes each, in base64url without padding")
		}
		public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
		if err != nil {
			return nil, errors.New("x and y of the JWK are not a point on P-256")
		}
		return public, nil
	case "OKP":
		if k.curve != "Ed25519" {
			return nil, fmt.Errorf("a key on the curve %s cannot be used; the only supported OKP curve is Ed25519", k.curve)
		}
		x := decodeParameter(k.x)
		if len(x) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("x of a JWK on Ed25519 must be %d bytes, in base64url without padding", ed25519.PublicKeySize)
		}
		return ed25519.PublicKey(x), nil
	case "RSA":
		n, e := new(big.Int).SetBytes(decodeParameter(k.n)), new(big.Int).SetBytes(decodeParameter(k.e))
		if n.Sign() == 0 || e.Sign() == 0 || e.BitLen() > 31 {
			return nil, errors.New("n and e of an RSA JWK must be the modulus and an exponent below 2^31, in base64url without padding")
		}
		return &rsa.PublicKey{N: n, E: int(e.Int64())}, nil
	}
	return nil, fmt.Errorf("a JWK with kty %q cannot be used; supported are EC on P-256, OKP on Ed25519, and RSA", k.kind)
}

// decodeParameter decodes unpadded base64url. It returns nil for anything else.
func decodeParameter(text string) []byte {
	data, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil
	}
	return data
}
