// Package authtest makes what tests sign and verify tokens with.
package authtest

import "github.com/ikornaselur/notiflux/internal/auth"

// A T is what tests, benchmarks and properties have in common.
type T interface {
	Helper()
	Fatal(args ...any)
}

// NewSigner returns a signer with a key of its own.
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

// NewVerifier returns a verifier of what signer signs.
func NewVerifier(t T, signer *auth.Signer) *auth.Verifier {
	t.Helper()
	keys, err := auth.ParseKeys(signer.PublicPEM())
	if err != nil {
		t.Fatal(err)
	}
	return auth.New(auth.Config{Keys: keys})
}
