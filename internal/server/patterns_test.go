package server_test

import (
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/control"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/server"
)

// An operator who unsubscribes a user from topics leaves streams and polls of patterns alone. A
// revocation ends them.
func TestPatternsOverHTTPAndTheOperator(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
		s := start(nil)
		operator := server.Control(s.Server)
		ann := s.Sign(auth.Grant{Subject: "ann", Scopes: []auth.Scope{auth.Subscribe}, Patterns: []pubsub.Pattern{"room:*"}})
		events := lines(t, s, "/events?pattern=room:*", ann)
		expect(t, "events", events(), `"patterns":{"room:*":`)
		s.Broadcast("room:1", "1")
		expect(t, "events", events(), `"topic":"room:1"`)
		answer := pollFrom(t, s, "pattern=room:*", s.Head("room:1"), ann)
		waitFor(t, s, 2)

		isAnn := func(c *auth.Claims) bool { return c.Subject == "ann" }
		got, err := operator.Unsubscribe(t.Context(), isAnn, func(pubsub.Topic) bool { return true })
		if err != nil || got != (control.Outcome{}) {
			t.Errorf("unsubscribed %+v, %v; want nothing", got, err)
		}
		s.Broadcast("room:2", "2")
		expect(t, "events", events(), `"topic":"room:2"`)
		if got := <-answer; !strings.HasPrefix(got, "200 ") || !strings.Contains(got, `"topic":"room:2"`) {
			t.Errorf("the poll is answered with %s", got)
		}

		answer = pollFrom(t, s, "pattern=room:*", s.Head("room:2"), ann)
		waitFor(t, s, 2)
		got, err = operator.Sweep(t.Context(), revokedFor("ann", pubsub.Pattern("room:*").Topic()))
		if err != nil || got.Subscriptions != 1 {
			t.Errorf("the sweep ended %+v, %v", got, err)
		}
		expect(t, "events", events(), `{"type":"unsubscribed","topics":[],"patterns":["room:*"],"code":"token_revoked"}`)
		expect(t, "events", events(), `{"type":"bye","code":"token_revoked"`)
		if got := <-answer; !strings.HasPrefix(got, "401 ") || !strings.Contains(got, "token_revoked") {
			t.Errorf("the poll is answered with %s", got)
		}
	})
}
