package auth_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/auth"
)

// ecParameters returns the PEM block that `openssl ecparam -genkey` writes before a key. It
// names P-256.
func ecParameters(t *testing.T) []byte {
	t.Helper()
	der, err := asn1.Marshal(asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7})
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: der})
}

func TestParseKeysAcceptsSeveral(t *testing.T) {
	one, two := newIssuer(t, 1), newIssuer(t, 2)
	data := bytes.Join([][]byte{
		[]byte("the old key\n"), publicPEM(t, one.key.Public()),
		ecParameters(t),
		bytes.ReplaceAll(publicPEM(t, two.key.Public()), []byte("\n"), []byte("\r\n")),
	}, nil)
	keys, err := auth.ParseKeys(data)
	if err != nil {
		t.Fatal(err)
	}
	verifier := auth.New(auth.Config{Keys: keys, Now: at(now)})
	for n, issuer := range []issuer{one, two} {
		if _, err := verifier.Verify(issuer.token(t, goodHeader, goodPayload)); err != nil {
			t.Errorf("Verify(signed with key %d) = %v, want nil", n, err)
		}
	}
	if _, err := verifier.Verify(newIssuer(t, 3).token(t, goodHeader, goodPayload)); err == nil {
		t.Error("Verify(signed with another key) = nil, want an error")
	}
}

func TestParseKeysBase64(t *testing.T) {
	issuer := newIssuer(t, 1)
	data := publicPEM(t, issuer.key.Public())
	line := base64.StdEncoding.EncodeToString(data)
	for name, b64 := range map[string]string{
		"one line":        line,
		"wrapped at 76":   line[:76] + "\n" + line[76:152] + "\n" + line[152:] + "\n",
		"Windows' lines":  line[:76] + "\r\n" + line[76:],
		"spaces, as seen": "  " + line[:10] + " " + line[10:] + "\t",
	} {
		keys, err := auth.ParseKeysBase64(b64)
		if err != nil {
			t.Errorf("%s: ParseKeysBase64 = %v, want nil", name, err)
			continue
		}
		verifier := auth.New(auth.Config{Keys: keys, Now: at(now)})
		if _, err := verifier.Verify(issuer.token(t, goodHeader, goodPayload)); err != nil {
			t.Errorf("%s: Verify = %v, want nil", name, err)
		}
	}
	for name, c := range map[string]struct{ b64, want string }{
		"empty":       {"", "there is no key here"},
		"PEM":         {string(data), "this is plain PEM"},
		"cut":         {line[:101], "this is not valid base64"},
		"cut at four": {line[:100], "a PEM block cannot be read"},
		"not base64":  {"***", "this is not valid base64"},
		"no PEM":      {"aGVsbG8=", "there is no key here"},
	} {
		if _, err := auth.ParseKeysBase64(c.b64); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: ParseKeysBase64 = %v, want %q", name, err, c.want)
		}
	}
}

func TestParseKeysSaysWhatWouldBeRight(t *testing.T) {
	public := publicPEM(t, newIssuer(t, 1).key.Public())
	private, _, err := auth.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	weak := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(3), 1022), E: 65537}
	block := func(kind string, der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"empty":               {nil, "there is no key here"},
		"no PEM":              {[]byte("hello"), "there is no key here"},
		"parameters alone":    {ecParameters(t), "there is no key here"},
		"cut":                 {public[:len(public)-10], "a PEM block cannot be read"},
		"second one cut":      {append(bytes.Clone(public), public[:60]...), "a PEM block cannot be read"},
		"first one cut":       {append(bytes.Clone(public[:60]), public...), "a PEM block cannot be read"},
		"private, SEC 1":      {private, "this is a private key, which must stay secret: use the public key, made with `openssl ec -in"},
		"private, parameters": {append(ecParameters(t), private...), "this is a private key"},
		"private, PKCS #8":    {privatePEM(t, ed25519Key(1)), "this is a private key"},
		"private, encrypted":  {block("ENCRYPTED PRIVATE KEY", []byte{1}), "this is a private key"},
		"private, OpenSSH":    {block("OPENSSH PRIVATE KEY", []byte{1}), "this is a private key"},
		"both":                {append(bytes.Clone(public), private...), "this is a private key"},
		"certificate":         {block("CERTIFICATE", []byte{1}), "this is a certificate: use the public key in it, as `openssl x509"},
		"PKCS #1":             {block("RSA PUBLIC KEY", []byte{1}), `type "RSA PUBLIC KEY": a public key has type PUBLIC KEY`},
		"garbage inside":      {block("PUBLIC KEY", []byte("garbage")), "parse public key"},
		"P-384":               {publicPEM(t, p384.Public()), "a key on the curve P-384 cannot be used; a P-256 key is made with `openssl ecparam -name prime256v1"},
		"weak RSA":            {publicPEM(t, weak), "an RSA key of 1024 bits is too weak, the minimum is 2048"},
		"17 keys":             {bytes.Repeat(public, 17), "there are 17 public keys; the limit is 16"},
	} {
		t.Run(name, func(t *testing.T) {
			keys, err := auth.ParseKeys(c.data)
			if err == nil || keys != nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("ParseKeys = %v, %v, want %q", keys, err, c.want)
			}
		})
	}
	if _, err := auth.ParseKeys(bytes.Repeat(public, 16)); err != nil {
		t.Errorf("ParseKeys(16 keys) = %v, want nil", err)
	}
}

func TestParsePrivateKey(t *testing.T) {
	private, public, err := auth.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	b, _ := pem.Decode(private)
	key, err := x509.ParseECPrivateKey(b.Bytes)
	if err != nil || b.Type != "EC PRIVATE KEY" {
		t.Fatalf("GenerateKey = a block %q, %v, want EC PRIVATE KEY", b.Type, err)
	}
	for name, data := range map[string][]byte{
		"SEC 1":                     private,
		"SEC 1 after EC PARAMETERS": append(ecParameters(t), private...),
		"PKCS #8":                   privatePEM(t, key),
	} {
		signer, err := auth.ParsePrivateKey(data)
		if err != nil {
			t.Errorf("%s: ParsePrivateKey = %v, want nil", name, err)
			continue
		}
		if got := signer.PublicPEM(); !bytes.Equal(got, public) {
			t.Errorf("%s: PublicPEM = %s, want %s", name, got, public)
		}
	}
}

func TestParsePrivateKeySaysWhatWouldBeRight(t *testing.T) {
	private, public, err := auth.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	encrypted := &pem.Block{Type: "EC PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}, Bytes: []byte{1}}
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"empty":            {nil, "there is no key here"},
		"parameters alone": {ecParameters(t), "there is no key here"},
		"cut":              {private[:80], "a PEM block cannot be read"},
		"public":           {public, "this is a public key: signing needs the matching private key"},
		"two":              {append(bytes.Clone(private), private...), "the file holds 2 keys"},
		"P-521":            {privatePEM(t, p521), "a key on the curve P-521 cannot be used"},
		"encrypted":        {pem.EncodeToMemory(encrypted), "this private key is encrypted"},
		"encrypted PKCS 8": {pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY"}), "this private key is encrypted"},
		"OpenSSH":          {pem.EncodeToMemory(&pem.Block{Type: "OPENSSH PRIVATE KEY"}), `type "OPENSSH PRIVATE KEY"`},
		"garbage inside":   {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("garbage")}), "parse private key"},
	} {
		t.Run(name, func(t *testing.T) {
			signer, err := auth.ParsePrivateKey(c.data)
			if err == nil || signer != nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("ParsePrivateKey = %v, %v, want %q", signer, err, c.want)
			}
		})
	}
}
