package auth_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"math/big"
	"slices"
	"testing"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// This file and those for Ed25519 and RSA have a case for each category of the public
// Wycheproof vectors for these signatures. The cases are computed here, for tokens.

// A signatureCase is a signature of a token that is right otherwise.
type signatureCase struct {
	key       any // public
	signature []byte
	ok        bool
}

// inputWith returns what a token with this alg signs.
func inputWith(alg string) string { return b64(`{"alg":"`+alg+`"}`) + "." + b64(goodPayload) }

func checkSignatures(t *testing.T, alg string, cases map[string]signatureCase) {
	t.Helper()
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			verifier := auth.New(auth.Config{Keys: parseKeys(t, c.key), Now: at(now)})
			token := join(inputWith(alg), c.signature)
			_, err := verifier.Verify(token)
			switch {
			case !c.ok:
				wantRefused(t, token, err, pubsub.TokenInvalid)
			case err != nil:
				t.Errorf("Verify = %v, want nil", err)
			}
		})
	}
}

var (
	p256  = elliptic.P256().Params()
	one   = big.NewInt(1)
	lessN = func(i int64) *big.Int { return new(big.Int).Sub(p256.N, big.NewInt(i)) }
)

func modN(n *big.Int) *big.Int    { return new(big.Int).Mod(n, p256.N) }
func mulN(a, b *big.Int) *big.Int { return modN(new(big.Int).Mul(a, b)) }
func invN(a *big.Int) *big.Int    { return new(big.Int).ModInverse(a, p256.N) }

// bytes32 returns the numbers, each in 32 bytes.
func bytes32(numbers ...*big.Int) (all []byte) {
	for _, n := range numbers {
		all = append(all, n.FillBytes(make([]byte, 32))...)
	}
	return all
}

// A point is a point on P-256; nil is the point at infinity.
type point struct{ x, y *big.Int }

func (a *point) add(b *point) *point {
	p := p256.P
	mod := func(n *big.Int) *big.Int { return n.Mod(n, p) }
	var top, bottom *big.Int // of the slope
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.x.Cmp(b.x) != 0:
		top, bottom = new(big.Int).Sub(b.y, a.y), new(big.Int).Sub(b.x, a.x)
	case a.y.Cmp(b.y) != 0:
		return nil
	default: // 3x² - 3
		top = new(big.Int).Mul(big.NewInt(3), new(big.Int).Sub(new(big.Int).Mul(a.x, a.x), one))
		bottom = new(big.Int).Lsh(a.y, 1)
	}
	slope := mod(top.Mul(top, new(big.Int).ModInverse(mod(bottom), p)))
	x := new(big.Int).Mul(slope, slope)
	x = mod(x.Sub(x.Sub(x, a.x), b.x))
	y := new(big.Int).Sub(a.x, x)
	return &point{x, mod(y.Sub(y.Mul(y, slope), a.y))}
}

func (a *point) times(k *big.Int) (product *point) {
	for i := k.BitLen() - 1; i >= 0; i-- {
		if product = product.add(product); k.Bit(i) == 1 {
			product = product.add(a)
		}
	}
	return product
}

// pointAt returns the point with the smallest x that is at least from.
func pointAt(from *big.Int) *point {
	for x := new(big.Int).Set(from); ; x = new(big.Int).Add(x, one) {
		square := new(big.Int).Mul(x, new(big.Int).Sub(new(big.Int).Mul(x, x), big.NewInt(3)))
		square.Mod(square.Add(square, p256.B), p256.P)
		if y := new(big.Int).ModSqrt(square, p256.P); y != nil {
			return &point{x, y}
		}
	}
}

var generator = &point{p256.Gx, p256.Gy}

func (a *point) public(t *testing.T) *ecdsa.PublicKey {
	t.Helper()
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append([]byte{4}, bytes32(a.x, a.y)...))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// keyFor returns the public key for which the signature r, s of a hash leads to the point,
// whatever their values are: (s·point - hash·G) / r.
func keyFor(t *testing.T, p *point, r, s, hash *big.Int) *ecdsa.PublicKey {
	t.Helper()
	hashG := generator.times(modN(new(big.Int).Neg(hash)))
	return p.times(s).add(hashG).times(invN(r)).public(t)
}

func TestES256Signatures(t *testing.T) {
	ours := newIssuer(t, 1)
	input := inputWith("ES256")
	sum := sha256.Sum256([]byte(input))
	hash := modN(new(big.Int).SetBytes(sum[:]))
	good := ours.sign(t, input)
	r, s := new(big.Int).SetBytes(good[:32]), new(big.Int).SetBytes(good[32:])
	der := must(ecdsa.SignASN1(rand.Reader, ours.key, sum[:]))
	own := func(signature []byte, ok bool) signatureCase {
		return signatureCase{ours.key.Public(), signature, ok}
	}
	cases := map[string]signatureCase{
		"good":              own(good, true),
		"s replaced by -s":  own(bytes32(r, modN(new(big.Int).Neg(s))), true), // ES256 allows both
		"r replaced by -r":  own(bytes32(modN(new(big.Int).Neg(r)), s), false),
		"r and s swapped":   own(bytes32(s, r), false),
		"DER":               own(der, false),
		"DER in BER":        own(slices.Concat([]byte{0x30, 0x81}, der[1:]), false),
		"63 bytes":          own(good[:63], false),
		"65 bytes":          own(append(slices.Clone(good), 0), false),
		"0 in front":        own(append([]byte{0}, good...), false),
		"32 bytes":          own(good[:32], false),
		"96 bytes":          own(slices.Concat(good, good[:32]), false),
		"one byte":          own(good[:1], false),
		"33 bytes each":     own(slices.Concat([]byte{0}, good[:32], []byte{0}, good[32:]), false),
		"a bit changed":     own(append(slices.Clone(good[:63]), good[63]^1), false),
		"another key":       own(newIssuer(t, 2).sign(t, input), false),
		"another input":     own(ours.sign(t, input+"x"), false),
		"payload alone":     own(ours.sign(t, b64(goodPayload)), false),
		"Ed25519":           own(ed25519.Sign(ed25519Key(1), []byte(input)), false),
		"s + 2^256":         own(slices.Concat(good[:32], []byte{1}, good[32:]), false),
		"not a signature":   own([]byte("none"), false),
		"public key's x, y": own(must(ours.key.PublicKey.Bytes())[1:], false),
	}
	// r and s at the edges of their ranges, in all pairs.
	edges := map[string]*big.Int{
		"0": new(big.Int), "1": one, "n-1": lessN(1), "n": p256.N, "n+1": lessN(-1), "p": p256.P,
		"p+1": new(big.Int).Add(p256.P, one), "2^256-1": new(big.Int).Sub(new(big.Int).Lsh(one, 256), one),
	}
	for nameR, edgeR := range edges {
		cases["r = "+nameR] = own(bytes32(edgeR, s), false)
		cases["s = "+nameR] = own(bytes32(r, edgeR), false)
		for nameS, edgeS := range edges {
			cases["r = "+nameR+", s = "+nameS] = own(bytes32(edgeR, edgeS), false)
		}
	}
	// Signatures with values at which implementations made mistakes, and the keys for which
	// they are right.
	craft := func(name string, p *point, s *big.Int) {
		r := modN(p.x)
		key := keyFor(t, p, r, s, hash)
		cases[name] = signatureCase{key, bytes32(r, s), true}
		cases[name+", s + 1"] = signatureCase{key, bytes32(r, modN(new(big.Int).Add(s, one))), false}
		cases[name+", r + 1"] = signatureCase{key, bytes32(modN(new(big.Int).Add(r, one)), s), false}
		if p.x.Cmp(p256.N) >= 0 {
			cases[name+", not reduced"] = signatureCase{key, bytes32(p.x, s), false}
		}
		if more := new(big.Int).Add(r, p256.N); more.BitLen() <= 256 {
			cases[name+", r + n"] = signatureCase{key, bytes32(more, s), false}
		}
	}
	some := pointAt(hash)
	for name, k := range map[string]*big.Int{"1": one, "2": big.NewInt(2), "n-1": lessN(1), "2^128": new(big.Int).Lsh(one, 128), "2^255": new(big.Int).Lsh(one, 255)} {
		craft("k = "+name, generator.times(k), s)
		craft("s = "+name, some, k)
		craft("1/s = "+name, some, invN(k))
		craft("u1 = "+name, some, mulN(hash, invN(k)))
		craft("u2 = "+name, some, mulN(modN(some.x), invN(k)))
		craft("k and s = "+name, generator.times(k), k)
	}
	craft("x from n on", pointAt(p256.N), s)
	craft("the smallest x", pointAt(one), one)
	// u1·G and u2·Q are the same point, so an implementation must double it.
	cases["doubling"] = func() signatureCase {
		r := modN(generator.times(hash).x) // k is hash, and r·d too, so s = (hash + r·d) / k = 2
		return signatureCase{generator.times(mulN(hash, invN(r))).public(t), bytes32(r, big.NewInt(2)), true}
	}()
	// The sum is the point at infinity, which has no x.
	infinite := generator.times(mulN(modN(new(big.Int).Neg(hash)), invN(r))).public(t)
	cases["the point at infinity"] = signatureCase{infinite, bytes32(r, s), false}
	cases["the point at infinity, s = r"] = signatureCase{infinite, bytes32(r, r), false}
	// Keys that share x with the generator.
	for name, d := range map[string]*big.Int{"G": one, "-G": lessN(1)} {
		key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes32(d))
		if err != nil {
			t.Fatal(err)
		}
		cases["the key is "+name] = signatureCase{key.Public(), issuer{key}.sign(t, input), true}
	}
	checkSignatures(t, "ES256", cases)
}
