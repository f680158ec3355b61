package auth_test

import (
	"context"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/internaltest/authtest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/worker"
)

// Tokens of requests wait for the same workers as those of sessions, in a queue of limited
// length. A token that was verified before does not wait.
func TestRequestsWaitForTheirTokens(t *testing.T) {
	signer := authtest.NewSigner(t)
	token := func(subject string) auth.Token {
		signed, err := signer.Sign(auth.Grant{Subject: subject, Scopes: []auth.Scope{auth.Broadcast}, Topics: []pubsub.Topic{"t"}, Expires: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	verifier, workers := authtest.NewVerifier(t, signer), worker.NewPool(1, 1, slog.New(slog.DiscardHandler))
	v := auth.NewPooled(verifier, workers)
	known := token("known")
	if _, err := verifier.Verify(known); err != nil {
		t.Fatal(err)
	}
	var waits sync.WaitGroup
	waits.Go(func() {
		if claims, err := v.Verify(token("waits"), ""); err != nil || claims.Subject != "waits" {
			t.Errorf("the waiting call returned %v, %v", claims, err)
		}
	})
	for workers.Len() == 0 {
		runtime.Gosched()
	}
	if claims, err := v.Verify(known, ""); err != nil || claims.Subject != "known" {
		t.Errorf("known: %v, %v", claims, err)
	}
	if _, err := v.Verify(token("too many"), ""); err == nil || pubsub.Refusal(err).Code != pubsub.OverCapacity {
		t.Errorf("without room: %v, want %s", err, pubsub.OverCapacity)
	}
	var running sync.WaitGroup
	defer running.Wait()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	running.Go(func() { workers.Run(ctx) })
	waits.Wait()
	if _, err := v.Verify("not.a.token", ""); err == nil || pubsub.Refusal(err).Code != pubsub.TokenInvalid {
		t.Errorf("an invalid token: %v, want %s", err, pubsub.TokenInvalid)
	}
}
