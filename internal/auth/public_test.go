package auth_test

import (
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

func TestParsePublic(t *testing.T) {
	for entry, want := range map[string]string{
		"*":      `"*" would make every topic public`,
		"":       `"": the topic is empty`,
		"a\x00b": "control character",
		"a\xff*": "not UTF-8",
	} {
		if _, err := auth.ParsePublic([]string{"status", entry}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", entry, err, want)
		}
	}
	if public, err := auth.ParsePublic(nil); public != nil || err != nil || public.Allow("a") {
		t.Errorf("no topics: %v, %v", public, err)
	}
	public, err := auth.ParsePublic([]string{"status", "news:*", "b**"})
	if err != nil {
		t.Fatal(err)
	}
	for topic, want := range map[pubsub.Topic]bool{"status": true, "status2": false, "news:": true, "news:1": true, "new": false, "b*c": true, "bc": false} {
		if got := public.Allow(topic); got != want {
			t.Errorf("%q is public: %t, want %t", topic, got, want)
		}
	}
}

func TestAnonymous(t *testing.T) {
	issuer := newIssuer(t, 1)
	if claims := issuer.verifier(t, auth.Config{}).Anonymous(); claims != nil {
		t.Errorf("without public topics: %v, want nil", claims)
	}
	public, err := auth.ParsePublic([]string{"news:*"})
	if err != nil {
		t.Fatal(err)
	}
	verifier := issuer.verifier(t, auth.Config{Public: public})
	anonymous := verifier.Anonymous()
	if err := anonymous.Allow(auth.Subscribe, "news:1"); err != nil {
		t.Errorf("subscribe to a public topic: %v", err)
	}
	if err := verifier.Check(anonymous); err != nil {
		t.Errorf("expired: %v", err)
	}
	_, infoErr := anonymous.Info()
	for what, err := range map[string]error{
		"broadcast to a public topic": anonymous.Allow(auth.Broadcast, "news:1"),
		"subscribe to another topic":  anonymous.Allow(auth.Subscribe, "new"),
		"see members":                 anonymous.NeedUser(),
		"be a member":                 infoErr,
	} {
		if err == nil || pubsub.Refusal(err).Code != pubsub.TokenMissing {
			t.Errorf("%s: %v, want %s", what, err, pubsub.TokenMissing)
		}
	}
	// A token allows public topics in addition, even if it is only for broadcasting.
	claims, err := verifier.Verify(issuer.token(t, goodHeader, `{"sub":"u","exp":1767326645,"scope":"broadcast","topic":"a"}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := claims.Allow(auth.Subscribe, "news:1"); err != nil {
		t.Errorf("with a token for something else: %v", err)
	}
	if claims.Allow(auth.Subscribe, "a") == nil || claims.Allow(auth.Broadcast, "news:1") == nil {
		t.Error("a token allows more than the public topics in addition to its own rights")
	}
}
