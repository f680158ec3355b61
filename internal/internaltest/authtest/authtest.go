// Package authtest makes signers and verifiers with test keys.
package authtest

import "github.com/ikornaselur/notiflux/internal/auth"

// A T is the common part of tests, benchmarks and property tests.
type T interface {
	Helper()
	Fatal(args ...any)
}

// NewSigner returns a signer with a new key.
func NewSigner(t T) *auth.Signer {
	t.Helper()
	private, _, err := auth.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	signer, err := auth.ParsePrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// NewVerifier returns a verifier for the tokens of signer.
func NewVerifier(t T, signer *auth.Signer) *auth.Verifier {
	t.Helper()
	keys, err := auth.ParseKeys(signer.PublicPEM())
	if err != nil {
		t.Fatal(err)
	}
	return auth.New(auth.Config{Keys: keys})
}
