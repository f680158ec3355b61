package server_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
)

// Tokens from the future cost a request no more signature checks than other wrong tokens:
// one each, and four in all.
func TestTokensAheadOfTheClockAreBounded(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	s := servertest.Start(t, func(c *config.Serve) {
		public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
		if err := os.WriteFile(c.JWTPublicKeyFile, public, 0o600); err != nil {
			t.Fatal(err)
		}
	})
	for _, claim := range []string{"nbf", "iat"} {
		element := func(subject int) string {
			token, err := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
				"sub": fmt.Sprint(claim, subject), "scope": "broadcast", "topic": "t",
				"exp": time.Now().Add(2 * time.Hour).Unix(), claim: time.Now().Add(time.Hour).Unix(),
			}).SignedString(key)
			if err != nil {
				t.Fatal(err)
			}
			return fmt.Sprintf(`{"topic":"t","message":1,"token":%q}`, token)
		}
		elements := strings.Split(strings.Repeat(element(1)+"\n"+element(2)+"\n", 50), "\n")[:100]
		for i := range 10 {
			elements = append(elements, element(3+i))
		}
		_, answer := broadcast(t, s, "["+strings.Join(elements, ",")+"]", "Content-Type", "application/json")
		invalid, unchecked := strings.Count(answer, "token_invalid"), strings.Count(answer, "over_capacity")
		if invalid != 102 || unchecked != 8 {
			t.Errorf("%s: %d refused for the clock and %d not checked, want 102 and 8: %.300s", claim, invalid, unchecked, answer)
		}
	}
}
