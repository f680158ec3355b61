package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"
)

// A jwk is a JSON Web Key (RFC 7517 section 4), as far as it matters here.
type jwk struct {
	Type       string   `json:"kty"`
	ID         string   `json:"kid"`
	Use        string   `json:"use"`
	Operations []string `json:"key_ops"`
	Algorithm  string   `json:"alg"`

	// Parameters of public keys, in unpadded base64url (RFC 7518 section 6, RFC 8037).
	Curve string `json:"crv"`
	X     string `json:"x"`
	Y     string `json:"y"`
	N     string `json:"n"`
	E     string `json:"e"`

	// Parameters of private keys, and of symmetric ones.
	D jsontext.Value `json:"d"`
	P jsontext.Value `json:"p"`
	Q jsontext.Value `json:"q"`
	K jsontext.Value `json:"k"`
}

var errJWK = errors.New("this is JSON, but not a JWK or a JWK set: give public keys as in RFC 7517, such as {\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",…}]}")

// parseJWKs reads a JWK or a JWK set.
func parseJWKs(data []byte) ([]key, error) {
	var set struct {
		Keys []jwk `json:"keys"`
	}
	if json.Unmarshal(data, &set) != nil {
		return nil, errJWK
	}
	if set.Keys == nil {
		var one jwk
		if json.Unmarshal(data, &one) != nil || one.Type == "" {
			return nil, errJWK
		}
		k, err := one.key()
		if err != nil {
			return nil, err
		}
		return []key{k}, nil
	}
	return parseJWKSet(set.Keys)
}

// parseJWKSet returns the keys of a set that tokens can be verified with. Sets of
// identity providers hold others too, which are left out (RFC 7517 section 5), unless
// they are secret.
func parseJWKSet(set []jwk) (keys []key, err error) {
	var unusable error
	for i := range set {
		k, err := set[i].key()
		switch {
		case err == nil:
			keys = append(keys, k)
		case errors.Is(err, errSecret):
			return nil, fmt.Errorf("key %d of the set: %w", i+1, err)
		case unusable == nil:
			unusable = fmt.Errorf("no key of the set can be used; key %d: %w", i+1, err)
		}
	}
	if len(keys) == 0 && unusable == nil {
		unusable = errors.New("there is no key in this set")
	}
	if len(keys) == 0 {
		return nil, unusable
	}
	return keys, nil
}

// errSecret is in the chain of the refusal of a key that the server must not have.
var errSecret = errors.New("give public keys only")

// key returns the public key that k is.
func (k *jwk) key() (key, error) {
	switch {
	case k.Type == "oct" || k.K != nil:
		return key{}, fmt.Errorf("this is a symmetric JWK (kty oct): whoever verifies tokens with it can also sign them; %w: EC, OKP or RSA", errSecret)
	case k.D != nil || k.P != nil || k.Q != nil:
		return key{}, fmt.Errorf("this is a private JWK: keep it to yourself; %w: the same without d, p, q, dp, dq, qi and oth", errSecret)
	case k.Use != "" && k.Use != "sig":
		return key{}, fmt.Errorf("a JWK with the use %q does not verify signatures", k.Use)
	case k.Operations != nil && !slices.Contains(k.Operations, "verify"):
		return key{}, errors.New("a JWK whose key_ops lack verify does not verify signatures")
	}
	public, err := k.public()
	if err != nil {
		return key{}, err
	}
	methods, err := methodsOf(public)
	if err != nil {
		return key{}, err
	}
	if k.Algorithm != "" {
		all := methods
		methods = slices.DeleteFunc(slices.Clone(methods), func(m jwt.SigningMethod) bool {
			return m.Alg() != k.Algorithm && (k.Algorithm != "Ed25519" || m != jwt.SigningMethodEdDSA) // its name since RFC 9864
		})
		if len(methods) == 0 {
			return key{}, fmt.Errorf("a JWK with the alg %q cannot be used: this key verifies %s", k.Algorithm, all[0].Alg())
		}
	}
	return key{id: k.ID, methods: methods, public: public}, nil
}

// public decodes the parameters.
func (k *jwk) public() (crypto.PublicKey, error) {
	switch k.Type {
	case "EC":
		if k.Curve != "P-256" {
			return nil, fmt.Errorf("a key on the curve %s cannot be used; %s", k.Curve, rightKey)
		}
		x, y := decodeParameter(k.X), decodeParameter(k.Y)
		if len(x) != 32 || len(y) != 32 {
			return nil, errors.New("x and y of a JWK on P-256 are 32 bytes each, in base64url without padding")
		}
		public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
		if err != nil {
			return nil, errors.New("x and y of the JWK are not a point on P-256")
		}
		return public, nil
	case "OKP":
		if k.Curve != "Ed25519" {
			return nil, fmt.Errorf("a key on the curve %s cannot be used: of the type OKP, Ed25519 can", k.Curve)
		}
		x := decodeParameter(k.X)
		if len(x) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("x of a JWK on Ed25519 is %d bytes, in base64url without padding", ed25519.PublicKeySize)
		}
		return ed25519.PublicKey(x), nil
	case "RSA":
		n, e := new(big.Int).SetBytes(decodeParameter(k.N)), new(big.Int).SetBytes(decodeParameter(k.E))
		if n.Sign() == 0 || e.Bit(0) == 0 || e.Cmp(big.NewInt(3)) < 0 || e.Cmp(big.NewInt(math.MaxInt32)) > 0 {
			return nil, errors.New("n and e of an RSA JWK are the modulus and an odd exponent, in base64url without padding")
		}
		return &rsa.PublicKey{N: n, E: int(e.Int64())}, nil
	}
	return nil, fmt.Errorf("a JWK of the type %q cannot be used: EC on P-256, OKP on Ed25519 and RSA can", k.Type)
}

// decodeParameter returns nil for what is not unpadded base64url.
func decodeParameter(text string) []byte {
	data, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil
	}
	return data
}
