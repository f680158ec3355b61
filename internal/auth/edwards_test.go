package auth_test

import (
	"crypto"
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/auth"
)

// p25519 is the prime of the field of Ed25519, and l25519 the order of its base point.
var (
	p25519    = new(big.Int).Sub(new(big.Int).Lsh(one, 255), big.NewInt(19))
	l25519, _ = new(big.Int).SetString("1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed", 16)
)

// little returns n in 32 bytes, the least significant first.
func little(n *big.Int) []byte {
	data := bytes32(n)
	slices.Reverse(data)
	return data
}

func TestEdDSASignatures(t *testing.T) {
	key := ed25519Key(1)
	input := []byte(inputWith("EdDSA"))
	good := ed25519.Sign(key, input)
	own := func(signature ...[]byte) signatureCase {
		return signatureCase{key.Public(), slices.Concat(signature...), false}
	}
	with := func(options *ed25519.Options, message []byte) []byte {
		return must(key.Sign(nil, message, options))
	}
	hash := sha512.Sum512(input)
	r, s := good[:32], good[32:]
	reversed := slices.Clone(s)
	slices.Reverse(reversed)
	scalar := new(big.Int).SetBytes(reversed)
	zero := make([]byte, 32)
	cases := map[string]signatureCase{
		"good":              {key.Public(), good, true},
		"R alone":           own(r),
		"63 bytes":          own(good[:63]),
		"65 bytes":          own(good, zero[:1]),
		"0 in front":        own(zero[:1], good),
		"0 before S":        own(r, zero[:1], s),
		"key at the end":    own(good, key.Public().(ed25519.PublicKey)),
		"twice":             own(good, good),
		"S big-endian":      own(r, reversed),
		"R and S swapped":   own(s, r),
		"S = 0":             own(r, zero),
		"R = 0, S = 0":      own(zero, zero),
		"R the identity":    own(little(one), zero),
		"R the identity, S": own(little(one), s),
		"R = -0":            own(little(new(big.Int).Add(one, new(big.Int).Lsh(one, 255))), zero),
		"R = p + 1":         own(little(new(big.Int).Add(p25519, one)), zero),
		"all ones":          own([]byte(strings.Repeat("\xff", 64))),
		"of another key":    own(ed25519.Sign(ed25519Key(2), input)),
		"of another input":  own(ed25519.Sign(key, append(slices.Clone(input), 'x'))),
		"of the hash":       own(with(&ed25519.Options{Hash: crypto.SHA512}, hash[:])),
		"with a context":    own(with(&ed25519.Options{Context: "x"}, input)),
		"ES256":             own(newIssuer(t, 1).sign(t, string(input))),
	}
	special := []*big.Int{new(big.Int), one, new(big.Int).Sub(l25519, one), l25519, new(big.Int).Sub(p25519, one), p25519}
	for i, n := range special {
		for j, m := range special {
			cases[fmt.Sprintf("special values %d and %d", i, j)] = own(little(n), little(m))
		}
	}
	for _, factor := range []int64{1, 2, 4, 8, 15} { // the same scalar modulo L
		more := new(big.Int).Add(scalar, new(big.Int).Mul(big.NewInt(factor), l25519))
		if more.BitLen() <= 256 {
			cases[fmt.Sprintf("S + %d L", factor)] = own(r, little(more))
		}
	}
	for bit := uint(252); bit < 256; bit++ {
		cases[fmt.Sprintf("S with the bit %d changed", bit)] = own(r, little(new(big.Int).Xor(scalar, new(big.Int).Lsh(one, bit))))
	}
	for bit := range 256 {
		changed := slices.Clone(good)
		changed[bit/8] ^= 1 << (bit % 8)
		cases[fmt.Sprintf("R with the bit %d changed", bit)] = own(changed)
	}
	checkSignatures(t, "EdDSA", cases)
}

// ed25519JWK returns a public JWK with any x.
func ed25519JWK(x []byte) string {
	return `{"kty":"OKP","crv":"Ed25519","x":"` + base64.RawURLEncoding.EncodeToString(x) + `"}`
}

// ParseKeys accepts the same points as crypto/ed25519, except the smallest ones.
func TestEd25519Keys(t *testing.T) {
	var small, other []*big.Int // y of points
	for i := range int64(200) {
		other = append(other, big.NewInt(i+2), new(big.Int).Sub(p25519, big.NewInt(i+2)))
	}
	// The points of order 8 have dy⁴ + 2y² - 1 = 0.
	mod := func(n *big.Int) *big.Int { return n.Mod(n, p25519) }
	d := mod(new(big.Int).Mul(big.NewInt(-121665), new(big.Int).ModInverse(big.NewInt(121666), p25519)))
	root := new(big.Int).ModSqrt(mod(new(big.Int).Add(d, one)), p25519)
	for _, r := range []*big.Int{root, new(big.Int).Neg(root)} {
		square := mod(new(big.Int).Mul(new(big.Int).Sub(r, one), new(big.Int).ModInverse(d, p25519)))
		if y := new(big.Int).ModSqrt(square, p25519); y != nil {
			small = append(small, y, new(big.Int).Sub(p25519, y))
		}
	}
	small = append(small, new(big.Int), one, new(big.Int).Sub(p25519, one))
	if len(small) != 5 {
		t.Fatalf("%d values of y for points of small order, want 5", len(small))
	}
	for _, sign := range []*big.Int{new(big.Int), new(big.Int).Lsh(one, 255)} {
		for _, y := range small {
			x := little(new(big.Int).Add(y, sign))
			if !isForgeable(x) {
				t.Errorf("y = %d: crypto/ed25519 accepts no forged signature: the point is not small", y)
			}
			_, err := auth.ParseKeys([]byte(ed25519JWK(x)))
			if err == nil || !strings.Contains(err.Error(), "a point of small order, so anyone can make signatures for it") {
				t.Errorf("y = %d, of small order: %v", y, err)
			}
		}
		for _, y := range other {
			x := little(new(big.Int).Add(y, sign))
			isPoint := ed25519.VerifyWithOptions(x, nil, make([]byte, 64), new(ed25519.Options)).Error() == "ed25519: invalid signature"
			_, err := auth.ParseKeys([]byte(ed25519JWK(x)))
			if isPoint != (err == nil) || err != nil && !strings.Contains(err.Error(), "not a point on the curve") {
				t.Errorf("y = %d: ParseKeys = %v; a point: %t", y, err, isPoint)
			}
		}
		for i := range int64(19) { // the other encodings of y up to 18
			x := little(new(big.Int).Add(new(big.Int).Add(p25519, big.NewInt(i)), sign))
			if _, err := auth.ParseKeys([]byte(ed25519JWK(x))); err == nil {
				t.Errorf("y = p + %d: accepted", i)
			}
		}
	}
	if _, err := auth.ParseKeys(publicPEM(t, ed25519.PublicKey(make([]byte, 32)))); err == nil || !strings.Contains(err.Error(), "small order") {
		t.Errorf("a PEM key of zeros: %v", err)
	}
	for n := range byte(50) {
		parseKeys(t, ed25519Key(n).Public())
	}
}

// isForgeable reports whether crypto/ed25519 accepts a signature that needs no private key.
func isForgeable(key []byte) bool {
	signature := slices.Concat(little(one), make([]byte, 32)) // R is the identity, S is 0
	for i := range 100 {
		if ed25519.Verify(key, fmt.Append(nil, i), signature) {
			return true
		}
	}
	return false
}
