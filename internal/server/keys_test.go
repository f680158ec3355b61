package server_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
)

// Tokens as identity providers issue them: their keys are a JWK Set, and their tokens have
// a kid, the type at+jwt, a list of scopes, and null for values that are not set.
func TestTokensOfIdentityProviders(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	file := filepath.Join(t.TempDir(), "jwks.json")
	set := fmt.Sprintf(`{"keys":[{"kty":"RSA","use":"enc","n":"AQ","e":"AQAB"},{"kty":"EC","crv":"P-256","use":"sig","alg":"ES256","kid":"2026-1","x":%q,"y":%q}]}`,
		encode(point[1:33]), encode(point[33:]))
	if err := os.WriteFile(file, []byte(set), 0o600); err != nil {
		t.Fatal(err)
	}
	s := servertest.Start(t, func(c *config.Serve) { c.JWTPublicKeyFile = file })
	sign := func(kid string) string {
		token := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
			"sub": "u", "scope": []string{"openid", "broadcast", "subscribe"}, "topic": "t", "topics": nil,
			"exp": time.Now().Add(time.Hour).Unix(), "nbf": nil, "iat": nil, "until": nil, "info": nil,
		})
		token.Header["typ"], token.Header["kid"] = "at+jwt", kid
		signed, err := token.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	for kid, status := range map[string]int{"2026-1": http.StatusOK, "2025-1": http.StatusUnauthorized} {
		r, err := s.HTTP.Post(s.URL+"/broadcast", "application/json", strings.NewReader(`{"topic":"t","message":1,"token":"`+sign(kid)+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != status {
			t.Errorf("a token with the kid %q: %s, want %d", kid, r.Status, status)
		}
	}
}
