package auth_test

import (
	"testing"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// A token stays in the cache as long as the server has the key that verified it, whatever
// happens to other keys.
func TestSetKeys(t *testing.T) {
	first, second := newIssuer(t, 1), newIssuer(t, 2)
	verifier := first.verifier(t, auth.Config{})
	old, fresh := first.token(t, goodHeader, goodPayload), second.token(t, goodHeader, goodPayload)
	claims, err := verifier.Verify(old)
	if err != nil {
		t.Fatal(err)
	}
	_, err = verifier.Verify(fresh)
	wantRefused(t, fresh, err, pubsub.TokenInvalid)

	verifier.SetKeys(parseKeys(t, second.key.Public(), first.key.Public()))
	if again, ok := verifier.Cached(old); !ok || again != claims {
		t.Error("with one key more, the cache does not have the token")
	}
	if err := verifier.Check(claims); err != nil {
		t.Errorf("with one key more, Check = %v", err)
	}
	if _, err := verifier.Verify(fresh); err != nil {
		t.Errorf("the new key does not verify a token that was refused before: %v", err)
	}

	verifier.SetKeys(parseKeys(t, second.key.Public()))
	if _, ok := verifier.Cached(old); ok {
		t.Error("the key was withdrawn, but the cache has its token")
	}
	_, err = verifier.Verify(old)
	wantRefused(t, old, err, pubsub.TokenInvalid)
	wantRefused(t, "", verifier.Check(claims), pubsub.TokenInvalid)
	if _, ok := verifier.Cached(fresh); !ok {
		t.Error("the token of the remaining key is not in the cache")
	}

	verifier.SetKeys(parseKeys(t, first.key.Public()))
	if again, ok := verifier.Cached(old); !ok || again != claims {
		t.Error("the key is back, but the cache does not have its token")
	}
	_, err = verifier.Verify(fresh)
	wantRefused(t, fresh, err, pubsub.TokenInvalid)
}
