package clients

import (
	"log/slog"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/internaltest/authtest"
	"github.com/ikornaselur/notiflux/internal/listen"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/quota"
	"github.com/ikornaselur/notiflux/internal/session"
)

// claimsOf returns the claims of a token of a user.
func claimsOf(t *testing.T, subject string) *auth.Claims {
	t.Helper()
	signer := authtest.NewSigner(t)
	token, err := signer.Sign(auth.Grant{Subject: subject, Scopes: []auth.Scope{auth.Subscribe}, Topics: []pubsub.Topic{"a"}, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	claims, err := authtest.NewVerifier(t, signer).Verify(token)
	if err != nil {
		t.Fatal(err)
	}
	return claims
}

// Whatever refuses a client, it takes nothing up, and a place that is left is free again.
func TestEnterTakesAllOrNothing(t *testing.T) {
	ann, bob := claimsOf(t, "ann"), claimsOf(t, "bob")
	c := New(Config{
		Slots:      listen.NewSlots(3, "", slog.New(slog.DiscardHandler)),
		PerAddress: quota.NewOpen(2),
		Users:      NewUsers(quota.NewOpen(2)),
	})
	var places []*Place
	for i, step := range []struct {
		remote string
		claims *auth.Claims
		want   pubsub.Code
	}{
		{"192.0.2.1:1", ann, ""},
		{"192.0.2.1:2", ann, ""},
		{"192.0.2.1:3", nil, pubsub.TooMany}, // the address
		{"192.0.2.2:1", ann, pubsub.TooMany}, // the user
		{"192.0.2.2:1", nil, ""},
		{"192.0.2.2:2", bob, pubsub.OverCapacity}, // the server
		{"192.0.2.2:2", bob, pubsub.OverCapacity},
		{"192.0.2.2:2", bob, pubsub.OverCapacity}, // not the address or the user
	} {
		p, err := c.Enter(step.remote, step.claims)
		if (err == nil) != (step.want == "") || err != nil && pubsub.Refusal(err).Code != step.want {
			t.Fatalf("step %d: %v, want %q", i, err, step.want)
		}
		if p != nil {
			places = append(places, p)
		}
	}
	for _, p := range places {
		p.Leave()
	}
	for _, remote := range []string{"192.0.2.1:1", "192.0.2.1:2"} {
		if _, err := c.Enter(remote, ann); err != nil {
			t.Errorf("after all have left: %v", err)
		}
	}
}

// A fakeConn is only compared.
type fakeConn struct {
	session.Conn
	_ byte // so that each has an address of its own
}

// A WebSocket counts once, for the user of its first token, until it is forgotten.
func TestUsers(t *testing.T) {
	ann, bob := claimsOf(t, "ann"), claimsOf(t, "bob")
	u := NewUsers(quota.NewOpen(1))
	first, second := new(fakeConn), new(fakeConn)
	for range 3 {
		if err := u.Use(first, ann); err != nil {
			t.Fatal(err)
		}
		if err := u.Use(first, bob); err != nil {
			t.Fatal(err)
		}
		if err := u.Use(second, ann); err == nil {
			t.Fatal("a second one of ann passes")
		}
	}
	u.forget(second) // It does not count.
	if err := u.Use(second, bob); err != nil {
		t.Errorf("one of bob: %v", err)
	}
	u.forget(first)
	u.forget(first)
	if err := u.Use(first, ann); err != nil {
		t.Errorf("after the first one has ended: %v", err)
	}
	if len(u.of) != 2 {
		t.Errorf("%d are remembered, want 2", len(u.of))
	}
	var none *Users
	if err := none.Use(first, ann); err != nil {
		t.Error(err)
	}
	none.forget(first)
}
