package auth_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/asn1"
	"fmt"
	"hash"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ikornaselur/notiflux/internal/auth"
)

const rsaBytes = 256 // the length of a signature

// rsaKey returns a key of 2,048 bits, the same in all tests.
var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 8*rsaBytes)
	if err != nil {
		panic(err)
	}
	return key
})

// saltLikeHash makes signatures as RFC 7518, section 3.5, requires.
var saltLikeHash = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}

// rawRSA returns the signature that a verifier turns back into encoded.
func rawRSA(encoded []byte) []byte {
	key := rsaKey()
	return new(big.Int).Exp(new(big.Int).SetBytes(encoded), key.D, key.N).FillBytes(make([]byte, rsaBytes))
}

// pkcs1 returns info in the padding of RSASSA-PKCS1-v1_5 (RFC 8017, section 9.2).
func pkcs1(info []byte) []byte {
	padding := bytes.Repeat([]byte{0xff}, rsaBytes-3-len(info))
	return slices.Concat([]byte{0, 1}, padding, []byte{0}, info)
}

// der returns an ASN.1 value with a short length.
func der(tag byte, parts ...[]byte) []byte {
	content := slices.Concat(parts...)
	return slices.Concat([]byte{tag, byte(len(content))}, content)
}

func TestRS256Signatures(t *testing.T) {
	input := []byte(inputWith("RS256"))
	digest, other := sha256.Sum256(input), sha256.Sum256(append(slices.Clone(input), 'x'))
	null := []byte{asn1.TagNull, 0}
	oid := func(numbers ...int) []byte { return must(asn1.Marshal(asn1.ObjectIdentifier(numbers))) }
	sha256OID := oid(2, 16, 840, 1, 101, 3, 4, 2, 1)
	sequence, octets := byte(0x30), byte(asn1.TagOctetString)
	algorithm := der(sequence, sha256OID, null)
	info := der(sequence, algorithm, der(octets, digest[:]))
	own := func(signature []byte) signatureCase { return signatureCase{rsaKey().Public(), signature, false} }
	good := must(rsa.SignPKCS1v15(nil, rsaKey(), crypto.SHA256, digest[:]))
	if !bytes.Equal(good, rawRSA(pkcs1(info))) {
		t.Fatal("the padding of this test is not that of crypto/rsa")
	}
	cases := map[string]signatureCase{
		"good":        {rsaKey().Public(), good, true},
		"another key": {must(rsa.GenerateKey(rand.Reader, 2048)).Public(), good, false},
		"PS256":       own(must(rsa.SignPSS(rand.Reader, rsaKey(), crypto.SHA256, digest[:], saltLikeHash))),
		"RS384":       own(must(rsa.SignPKCS1v15(nil, rsaKey(), crypto.SHA384, sum(sha512.New384(), input)))),
		"RS512":       own(must(rsa.SignPKCS1v15(nil, rsaKey(), crypto.SHA512, sum(sha512.New(), input)))),
		"RS1":         own(must(rsa.SignPKCS1v15(nil, rsaKey(), crypto.SHA1, sum(sha1.New(), input)))),
		"no hash":     own(must(rsa.SignPKCS1v15(nil, rsaKey(), crypto.Hash(0), digest[:]))),
		"ES256":       own(newIssuer(t, 1).sign(t, string(input))),
		"one byte":    own([]byte{0}),
		"too short":   own(good[:rsaBytes-1]),
		"too long":    own(append(slices.Clone(good), 0)),
		"0 in front":  own(append([]byte{0}, good...)),
		"not reduced": own(new(big.Int).Add(new(big.Int).SetBytes(good), rsaKey().N).FillBytes(make([]byte, rsaBytes+1))),
		"negative":    own(new(big.Int).Sub(rsaKey().N, new(big.Int).SetBytes(good)).FillBytes(make([]byte, rsaBytes))),
	}
	for name, n := range map[string]*big.Int{"0": new(big.Int), "1": one, "2": big.NewInt(2), "n-1": new(big.Int).Sub(rsaKey().N, one), "n": rsaKey().N, "n+1": new(big.Int).Add(rsaKey().N, one), "-1": new(big.Int).Sub(new(big.Int).Lsh(one, 8*rsaBytes), one)} {
		cases["the value "+name] = own(n.FillBytes(make([]byte, rsaBytes)))
	}
	for name, info := range map[string][]byte{
		"another digest":         der(sequence, algorithm, der(octets, other[:])),
		"digest too short":       der(sequence, algorithm, der(octets, digest[:31])),
		"digest too long":        der(sequence, algorithm, der(octets, digest[:], null[1:])),
		"digest alone":           digest[:],
		"no NULL":                der(sequence, der(sequence, sha256OID), der(octets, digest[:])),
		"two NULLs":              der(sequence, der(sequence, sha256OID, null, null), der(octets, digest[:])),
		"NULL with content":      der(sequence, der(sequence, sha256OID, der(asn1.TagNull, []byte{0})), der(octets, digest[:])),
		"no algorithm":           der(sequence, der(octets, digest[:])),
		"no digest":              der(sequence, algorithm),
		"OID of SHA-1":           der(sequence, der(sequence, oid(1, 3, 14, 3, 2, 26), null), der(octets, digest[:])),
		"OID of SHA-512":         der(sequence, der(sequence, oid(2, 16, 840, 1, 101, 3, 4, 2, 3), null), der(octets, digest[:])),
		"OID of SHA-512/256":     der(sequence, der(sequence, oid(2, 16, 840, 1, 101, 3, 4, 2, 6), null), der(octets, digest[:])),
		"OID of SHA3-256":        der(sequence, der(sequence, oid(2, 16, 840, 1, 101, 3, 4, 2, 8), null), der(octets, digest[:])),
		"garbage in front":       der(sequence, null, algorithm, der(octets, digest[:])),
		"garbage in the middle":  der(sequence, algorithm, null, der(octets, digest[:])),
		"garbage inside":         der(sequence, algorithm, der(octets, digest[:]), null),
		"garbage after the info": append(slices.Clone(info), null...),
		"a set":                  der(0x31, algorithm, der(octets, digest[:])),
		"a bit string":           der(sequence, algorithm, der(asn1.TagBitString, digest[:])),
		"composed":               der(sequence, algorithm, der(0x24, der(octets, digest[:16]), der(octets, digest[16:]))),
		"long length":            slices.Concat([]byte{sequence, 0x81}, info[1:]),
		"longer length":          slices.Concat([]byte{sequence, 0x82, 0}, info[1:]),
		"length of 64 bits":      slices.Concat([]byte{sequence, 0x89, 1, 0, 0, 0, 0, 0, 0, 0}, info[1:]),
		"indefinite length":      slices.Concat([]byte{sequence, 0x80}, info[2:], []byte{0, 0}),
		"truncated":              info[:len(info)-1],
		"empty":                  nil,
	} {
		cases["info: "+name] = own(rawRSA(pkcs1(info)))
	}
	zeros := make([]byte, rsaBytes)
	for name, encoded := range map[string][]byte{
		"type 0":               slices.Concat([]byte{0, 0}, pkcs1(info)[2:]),
		"type 2":               slices.Concat([]byte{0, 2}, pkcs1(info)[2:]),
		"type 1 in front":      slices.Concat([]byte{1}, pkcs1(info)[1:]),
		"zeros for padding":    slices.Concat([]byte{0, 1}, zeros[:rsaBytes-3-len(info)], []byte{0}, info),
		"no separator":         slices.Concat(pkcs1(info)[:rsaBytes-len(info)-1], []byte{0xff}, info),
		"a zero in padding":    slices.Concat(pkcs1(info)[:20], []byte{0}, pkcs1(info)[21:]),
		"a bit in padding":     slices.Concat(pkcs1(info)[:20], []byte{0xfe}, pkcs1(info)[21:]),
		"short, garbage after": slices.Concat([]byte{0, 1}, bytes.Repeat([]byte{0xff}, 8), []byte{0}, info, zeros)[:rsaBytes],
		"short, garbage first": slices.Concat([]byte{0, 1}, bytes.Repeat([]byte{0xff}, 8), []byte{0}, zeros[:rsaBytes-11-len(info)], info),
		"no padding":           slices.Concat([]byte{0, 1, 0}, info, zeros)[:rsaBytes],
		"info alone":           info,
	} {
		cases["padding: "+name] = own(rawRSA(encoded))
	}
	for i := range info {
		changed := slices.Clone(info)
		changed[i] ^= 1
		cases[fmt.Sprintf("info: byte %d changed", i)] = own(rawRSA(pkcs1(changed)))
	}
	checkSignatures(t, "RS256", cases)
}

func sum(h hash.Hash, input []byte) []byte {
	h.Write(input)
	return h.Sum(nil)
}

// A pss says how to encode a message (RFC 8017, section 9.1.1), and what to get wrong.
type pss struct {
	salt      []byte
	mask      func() hash.Hash // of MGF1
	padding   byte             // before the separator
	separator byte
	trailer   byte
	digest    []byte // of the message
	flip      int    // a byte of the final hash, counted from 1
	top       byte   // for the highest bit
}

func (p pss) encode() []byte {
	h := sha256.New()
	h.Write(make([]byte, 8))
	h.Write(p.digest)
	h.Write(p.salt)
	final := h.Sum(nil)
	if p.flip > 0 {
		final[p.flip-1] ^= 1
	}
	padding := bytes.Repeat([]byte{p.padding}, rsaBytes-len(p.salt)-len(final)-2)
	block := slices.Concat(padding, []byte{p.separator}, p.salt)
	for i, n := uint32(0), 0; n < len(block); i++ {
		h := p.mask()
		h.Write(final)
		h.Write([]byte{byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)})
		for _, b := range h.Sum(nil) {
			if n < len(block) {
				block[n] ^= b
				n++
			}
		}
	}
	block[0] = block[0]&0x7f | p.top
	return slices.Concat(block, final, []byte{p.trailer})
}

func TestPS256Signatures(t *testing.T) {
	input := []byte(inputWith("PS256"))
	digest := sha256.Sum256(input)
	own := func(change func(*pss)) signatureCase {
		for n := byte(0); ; n++ { // until the number is below the modulus
			p := pss{salt: bytes.Repeat([]byte{n}, 32), mask: sha256.New, separator: 1, trailer: 0xbc, digest: digest[:]}
			change(&p)
			if encoded := p.encode(); new(big.Int).SetBytes(encoded).Cmp(rsaKey().N) < 0 {
				return signatureCase{rsaKey().Public(), rawRSA(encoded), false}
			}
		}
	}
	accepted := func(c signatureCase) signatureCase { c.ok = true; return c }
	signed := func(salt int) signatureCase {
		return signatureCase{rsaKey().Public(), must(rsa.SignPSS(rand.Reader, rsaKey(), crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: salt})), false}
	}
	good := own(func(*pss) {}).signature
	withKey := func(signature []byte) signatureCase { return signatureCase{rsaKey().Public(), signature, false} }
	cases := map[string]signatureCase{
		"good":                 accepted(signed(rsa.PSSSaltLengthEqualsHash)),
		"encoded here":         accepted(own(func(*pss) {})),
		"salt of ones":         accepted(own(func(p *pss) { p.salt = bytes.Repeat([]byte{0xff - p.salt[0]}, 32) })),
		"the longest salt":     signed(rsa.PSSSaltLengthAuto),
		"MGF1 with SHA-1":      own(func(p *pss) { p.mask = sha1.New }),
		"MGF1 with SHA-512":    own(func(p *pss) { p.mask = sha512.New }),
		"another trailer":      own(func(p *pss) { p.trailer = 0xcc }),
		"another separator":    own(func(p *pss) { p.separator = 2 }),
		"no separator":         own(func(p *pss) { p.separator = 0 }),
		"padding of ones":      own(func(p *pss) { p.padding = 1 }),
		"another digest":       own(func(p *pss) { p.digest = sum(sha256.New(), append(slices.Clone(input), 'x')) }),
		"SHA-512 of the input": own(func(p *pss) { p.digest = sum(sha512.New(), input) }),
		"RS256":                withKey(must(rsa.SignPKCS1v15(nil, rsaKey(), crypto.SHA256, digest[:]))),
		"PS384":                withKey(must(rsa.SignPSS(rand.Reader, rsaKey(), crypto.SHA384, sum(sha512.New384(), input), &rsa.PSSOptions{SaltLength: 32}))),
		"another key":          {must(rsa.GenerateKey(rand.Reader, 2048)).Public(), good, false},
		"too short":            withKey(good[:rsaBytes-1]),
		"too long":             withKey(append(slices.Clone(good), 0)),
		"0 in front":           withKey(append([]byte{0}, good...)),
		"not reduced":          withKey(new(big.Int).Add(new(big.Int).SetBytes(good), rsaKey().N).FillBytes(make([]byte, rsaBytes+1))),
		"the value 0":          withKey(make([]byte, rsaBytes)),
		"the value 1":          withKey(one.FillBytes(make([]byte, rsaBytes))),
		"the value n-1":        withKey(new(big.Int).Sub(rsaKey().N, one).FillBytes(make([]byte, rsaBytes))),
	}
	for _, length := range []int{0, 1, 20, 31, 33, 48, 64, 222} {
		cases[fmt.Sprintf("a salt of %d bytes", length)] = own(func(p *pss) { p.salt = bytes.Repeat(p.salt[:1], length) })
	}
	for i := range sha256.Size {
		cases[fmt.Sprintf("byte %d of the hash changed", i)] = own(func(p *pss) { p.flip = i + 1 })
	}
	checkSignatures(t, "PS256", cases)
}

func TestRSAKeys(t *testing.T) {
	n := rsaKey().N
	weak := big.NewInt(1) // a power of 65537 modulo each small prime, and long enough
	for weak.BitLen() < 2048 {
		weak.Mul(weak, big.NewInt(65537))
	}
	jwk := func(n *big.Int, e string) string {
		return `{"kty":"RSA","n":"` + b64(string(n.Bytes())) + `","e":"` + e + `"}`
	}
	even := new(big.Int).Sub(n, one)
	for keys, want := range map[string]string{
		jwk(n, "AQAB"):                      "",
		jwk(n, "Aw"):                        "", // 3: only wrong checks of the padding make it dangerous
		jwk(n, "EQ"):                        "",
		jwk(n, "f____w"):                    "",
		jwk(n, "AQ"):                        "its modulus must be odd, and its exponent an odd number from 3 to 2^31-1, usually 65537",
		jwk(n, "Ag"):                        "its exponent an odd number",
		jwk(n, "AQAA"):                      "its exponent an odd number",
		jwk(even, "AQAB"):                   "its modulus must be odd",
		jwk(n, "AA"):                        "the modulus and an exponent below 2^31",
		jwk(n, ""):                          "the modulus and an exponent below 2^31",
		jwk(n, "gAAAAA"):                    "the modulus and an exponent below 2^31",
		jwk(n, "AQAAAAAAAAAB"):              "the modulus and an exponent below 2^31",
		jwk(weak, "AQAB"):                   "ROCA, CVE-2017-15361",
		jwk(new(big.Int).Rsh(n, 1), "AQAB"): "an RSA key of 2047 bits is too weak",
		string(publicPEM(t, &rsa.PublicKey{N: n, E: 3})):         "",
		string(publicPEM(t, &rsa.PublicKey{N: n, E: 1})):         "its exponent an odd number",
		string(publicPEM(t, &rsa.PublicKey{N: n, E: 65536})):     "its exponent an odd number",
		string(publicPEM(t, &rsa.PublicKey{N: n, E: 1<<31 + 1})): "its exponent an odd number",
		string(publicPEM(t, &rsa.PublicKey{N: even, E: 65537})):  "its modulus must be odd",
		string(publicPEM(t, &rsa.PublicKey{N: weak, E: 65537})):  "ROCA",
	} {
		_, err := auth.ParseKeys([]byte(keys))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("ParseKeys(…%s) = %v, want %q", keys[len(keys)-30:], err, want)
		}
	}
}
