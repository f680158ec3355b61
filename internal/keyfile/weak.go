package keyfile

import (
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
)

// This file recognizes public keys that are of no use: those that no signature fits, and those
// for which anyone can make signatures.

const minRSABits = 2048 // RFC 7518 section 3.3

// checkRSA returns an error if crypto/rsa never accepts a signature with key, if key is
// short, or if a weak generator made it.
func checkRSA(key *rsa.PublicKey) error {
	switch {
	case key.N.BitLen() < minRSABits:
		return fmt.Errorf("an RSA key of %d bits is too weak, the minimum is %d; %s", key.N.BitLen(), minRSABits, rightKey)
	case key.N.Bit(0) == 0 || key.E < 3 || key.E%2 == 0 || key.E > math.MaxInt32:
		return fmt.Errorf("the RSA key cannot be used: its modulus must be odd, and its exponent an odd number from 3 to 2^31-1, usually 65537; %s", rightKey)
	case isROCA(key.N):
		return fmt.Errorf("the RSA key was made by a chip whose private keys can be computed from the public ones (ROCA, CVE-2017-15361); %s", rightKey)
	}
	return nil
}

// isROCA reports whether the modulus n has the form of those that Infineon's library made:
// modulo each small prime, n is a power of 65537. Of other keys, one in 200 million has it.
func isROCA(n *big.Int) bool {
	for prime := int64(3); prime <= 167; prime += 2 {
		p := big.NewInt(prime)
		if !p.ProbablyPrime(0) { // exact below 2^64
			continue
		}
		rest := new(big.Int).Mod(n, p).Int64()
		power := int64(1)
		for power != rest {
			if power = power * 65537 % prime; power == 1 { // that was all of them
				return false
			}
		}
	}
	return true
}

// checkEd25519 returns an error if key is not a point on Ed25519 (RFC 8032, section 5.1.3), or
// a point of small order, for which signatures can be made without a private key.
// crypto/ed25519 looks at the point only with a signature, and accepts points of small order.
func checkEd25519(key ed25519.PublicKey) error {
	p := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	mul := func(a, b *big.Int) *big.Int { return new(big.Int).Mod(new(big.Int).Mul(a, b), p) }
	add := func(a *big.Int, n int64) *big.Int { return new(big.Int).Add(a, big.NewInt(n)) }

	little := slices.Clone(key)
	little[31] &= 0x7f // the other bit is the sign of x
	slices.Reverse(little)
	y := new(big.Int).SetBytes(little)
	d := mul(big.NewInt(-121665), new(big.Int).ModInverse(big.NewInt(121666), p))
	y2 := mul(y, y)
	dy2 := mul(d, y2)
	top, bottom := add(y2, -1), add(dy2, 1) // x² = top / bottom
	if y.Cmp(p) >= 0 || big.Jacobi(mul(top, bottom), p) < 0 {
		return errors.New("the Ed25519 key is not a point on the curve: copy all of it from where it was made")
	}
	// y is 1 or -1 in points of order 1 and 2, and 0 in those of order 4. Those of order 8 are
	// the points whose double has the order 4: x² = -y², so dy⁴ + 2y² - 1 = 0.
	eight := add(new(big.Int).Add(mul(dy2, y2), new(big.Int).Lsh(y2, 1)), -1)
	if mul(mul(top, y), eight).Sign() == 0 {
		return errors.New("the Ed25519 key is a point of small order, so anyone can make signatures for it: use the key of a pair, as `openssl genpkey -algorithm ed25519` makes it")
	}
	return nil
}
