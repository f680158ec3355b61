package keyfile

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// Generate returns a new P-256 key pair in PEM. The private key has the form that
// `openssl ecparam -name prime256v1 -genkey -noout` writes (RFC 5915), the public key that
// of `openssl ec -pubout`.
func Generate() (private, public []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("generate key: %w", err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("encode private key: %w", err)
	}
	private = pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	public, err = PublicPEM(key.Public())
	return private, public, err
}

// PublicPEM returns a public key in PEM.
func PublicPEM(key crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode public key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// ParsePrivate parses one private key in PEM: EC PRIVATE KEY (SEC 1, with or without EC
// PARAMETERS before it) or PRIVATE KEY (PKCS #8). For anything else it returns an error that
// says what would be right.
func ParsePrivate(data []byte) (crypto.Signer, error) {
	if err := mistake(data); err != nil {
		return nil, err
	}
	blocks, err := pemBlocks(data)
	if err != nil {
		return nil, err
	}
	if len(blocks) > 1 {
		return nil, fmt.Errorf("the file holds %d keys: use one private key", len(blocks))
	}
	return parsePrivateKey(blocks[0])
}

func parsePrivateKey(b *pem.Block) (crypto.Signer, error) {
	var key any
	var err error
	switch {
	case b.Type == "ENCRYPTED PRIVATE KEY" || b.Headers["DEK-Info"] != "":
		return nil, errors.New("this private key is encrypted: use an unencrypted one, as `openssl pkcs8 -topk8 -nocrypt` writes it")
	case b.Type == "PUBLIC KEY":
		return nil, errors.New("this is a public key: signing needs the matching private key")
	case b.Type == "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(b.Bytes)
	case b.Type == "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(b.Bytes)
	case b.Type == "RSA PRIVATE KEY":
		return nil, fmt.Errorf("this is a PEM block of type %q: a private RSA key has type PRIVATE KEY, as `openssl pkcs8 -topk8 -nocrypt -in key.pem` writes it", b.Type)
	default:
		return nil, fmt.Errorf("this is a PEM block of type %q: a private key has type EC PRIVATE KEY or PRIVATE KEY; %s", b.Type, rightKey)
	}
	switch {
	case err != nil && strings.HasSuffix(err.Error(), "unknown elliptic curve"): // crypto/x509 exports no error for this
		return nil, errPrivateCurve
	case err != nil:
		return nil, fmt.Errorf("parse private key: this PEM block holds no readable private key; %s", rightKey)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a key of this kind (%T) cannot sign; %s", key, rightKey)
	}
	return signer, nil
}
