package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/redistest"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
)

// on starts a server whose broker is the Redis at an address, and waits until it is ready.
func on(t *testing.T, address string) *servertest.Server {
	t.Helper()
	s := servertest.Start(t, func(c *config.Serve) { c.Broker = "redis://" + address })
	awaitReady(t, s, http.StatusOK)
	return s
}

// follows connects a user who is subscribed to a, in the text protocol.
func follows(s *servertest.Server, user string) *servertest.Client {
	c := s.Connect()
	c.Say("/subscribe a " + tokenOf(s, user, "a"))
	c.Sync()
	return c
}

// changed fails the test unless an answer has these numbers, and two servers answered.
func changed(t *testing.T, answer map[string]any, connections, subscriptions float64) {
	t.Helper()
	servers, _ := answer["servers"].(map[string]any)
	if answer["connections"] != connections || answer["subscriptions"] != subscriptions || servers["asked"] != 2. || servers["answered"] != 2. {
		t.Errorf("the answer is %v, want %v connections and %v subscriptions, and 2 servers", answer, connections, subscriptions)
	}
}

// isRevoked reports whether a server refuses the token of a user because it was revoked.
func isRevoked(t *testing.T, s *servertest.Server, token string) bool {
	t.Helper()
	status, body := text(t, s, s.URL+"/history?topic=a&token="+token)
	if revoked := strings.Contains(body, `"token_revoked"`); revoked || status == 200 {
		return revoked
	}
	t.Fatalf("GET /history = %d %s", status, body)
	return false
}

// counted waits until a server has n revocations.
func counted(t *testing.T, s *servertest.Server, n int) {
	t.Helper()
	for begin := time.Now(); ; {
		_, list := operate(t, s, "GET", "revocations", "")
		if list["count"] == float64(n) {
			if list["until"] != "expires" {
				t.Errorf("the list is %v, want until expires", list)
			}
			return
		}
		if time.Since(begin) > 20*time.Second {
			t.Fatalf("the list is %v, want %d", list, n)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// stored waits until Redis has n revocations. Its set has one more entry, the last position.
func stored(t *testing.T, r *redistest.Server, n int) {
	t.Helper()
	for begin := time.Now(); strings.TrimSpace(r.Client("ZCARD", "notiflux:{0}:r")) != fmt.Sprint(n+1); {
		if time.Since(begin) > 20*time.Second {
			t.Fatalf("Redis has %q, want %d revocations", r.Client("ZRANGE", "notiflux:{0}:r", "0", "-1"), n)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// Of servers that share Redis, one is asked and all act.
func TestOperatorsOfServersThatShareRedis(t *testing.T) {
	r := redistest.Start(t)
	first, second := on(t, r.Addr), on(t, r.Addr)
	var anns, bobs []*servertest.Client
	for _, s := range []*servertest.Server{first, second} {
		ann := connectAs(t, s, tokenOf(s, "ann", "a"))
		ask(t, ann, `{"type":"subscribe","topics":["a"]}`, `"topics":{"a"`)
		anns = append(anns, ann)
		bobs = append(bobs, follows(s, "bob"))
	}
	changed(t, mustOperate(t, first, "subscribe", `{"sub":"ann","topics":["b"]}`), 2, 2)
	for _, c := range anns {
		expect(t, "ann", c.Next(), `{"type":"subscribed","topics":{"b":`)
	}
	first.Broadcast("b", "1")
	for _, c := range anns {
		expect(t, "ann", c.Next(), `"data":"1"`)
	}
	changed(t, mustOperate(t, second, "unsubscribe", `{"sub":"ann","topics":["c"],"patterns":["b*"]}`), 0, 2)

	changed(t, mustOperate(t, first, "revocations", `{"sub":"ann"}`), 2, 2)
	for i, s := range []*servertest.Server{first, second} {
		expect(t, "ann", anns[i].Next(), `"unsubscribed"`)
		expect(t, "ann", anns[i].Next(), `{"type":"bye","code":"token_revoked"`)
		anns[i].ExpectClose(closeRevoked)
		if !isRevoked(t, s, tokenOf(s, "ann", "a")) || isRevoked(t, s, tokenOf(s, "bob", "a")) {
			t.Errorf("server %d does not refuse exactly the tokens of ann", i)
		}
		counted(t, s, 1)
	}
	changed(t, mustOperate(t, second, "revocations", `{"sub":"bob","topics":["x"]}`), 0, 0)
	report := mustOperate(t, first, "explain", `{"token":"`+tokenOf(first, "ann", "a")+`"}`)
	if report["code"] != "token_revoked" {
		t.Errorf("the report is %v, want token_revoked", report)
	}
	first.Broadcast("a", "2")
	for _, c := range bobs {
		c.Expect("2")
	}
	changed(t, mustOperate(t, first, "disconnect", `{"sub":"bob"}`), 2, 2)
	for _, c := range bobs {
		c.ExpectClose(closeRevoked)
	}
	named := lines(t, second, "/stream?topic=a", tokenOf(second, "bob", "a"))
	_, rest, _ := strings.Cut(named(), `"connection":"`)
	changed(t, mustOperate(t, first, "disconnect", `{"connection":"`+rest[:16]+`"}`), 1, 1)
	expect(t, "the connection", named(), `"bye"`)

	third := on(t, r.Addr)
	counted(t, third, 2)
}

// A server that was cut off reads the revocations before it is ready, and ends what lives by
// them. One whose push got lost notices within seconds. None is lost with what Redis knows.
func TestRevocationsReachEveryServer(t *testing.T) {
	r := redistest.Start(t)
	proxy := redistest.NewProxy(t, r.Addr)
	first, second := on(t, r.Addr), on(t, proxy.Addr)
	ann, bob, cy := follows(second, "ann"), follows(second, "bob"), follows(second, "cy")

	proxy.Cut()
	awaitReady(t, second, http.StatusServiceUnavailable)
	answer := mustOperate(t, first, "revocations", `{"sub":"ann"}`)
	if answer["connections"] != 0. {
		t.Errorf("the answer is %v, want no connection", answer)
	}
	if status, answer := operate(t, second, "POST", "revocations", `{"sub":"bob"}`); status != 503 || answer["code"] != "unavailable" {
		t.Errorf("a server without Redis = %d %v, want 503 unavailable", status, answer)
	}
	if status, answer := operate(t, second, "POST", "disconnect", `{"sub":"nobody"}`); status != 503 || !strings.Contains(answer["detail"].(string), "on this server only") {
		t.Errorf("a server without Redis = %d %v, want 503", status, answer)
	}
	proxy.Mend()
	awaitReady(t, second, http.StatusOK)
	if !isRevoked(t, second, tokenOf(second, "ann", "a")) {
		t.Error("a server that is ready again does not know what was revoked meanwhile")
	}
	ann.ExpectClose(closeRevoked)

	// As if the server did not get the push.
	add := func(score int64, entry string) {
		r.Client("ZADD", "notiflux:{0}:r", fmt.Sprint(score), entry)
	}
	at := time.Since(time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)).Microseconds()
	add(at, fmt.Sprintf(`{"sub":"bob","expires":%q}`, time.Now().Add(time.Hour).UTC().Format(time.RFC3339)))
	add(at+1, "")
	bob.ExpectClose(closeRevoked)
	counted(t, first, 2)
	second.Broadcast("a", "on")
	cy.Expect("on")

	for _, lose := range [][]string{{"FLUSHALL"}, {"DEL", "notiflux:{0}:r"}, {"DEL", "notiflux:{0}:m"}} {
		r.Client(lose...)
		stored(t, r, 2)
		third := on(t, r.Addr)
		counted(t, third, 2)
		if err := third.Stop(); err != nil {
			t.Error(err)
		}
	}
	if log := first.Log() + second.Log(); strings.Contains(log, "level=ERROR") {
		t.Errorf("the log has an error:\n%s", log)
	}
}

// Revocations that expire are removed from Redis, and those that others replace.
func TestRevocationsInRedisAreFew(t *testing.T) {
	r := redistest.Start(t)
	first := on(t, r.Addr)
	for i := range 5 {
		mustOperate(t, first, "revocations", fmt.Sprintf(`{"sub":"ann","before":"2026-01-0%dT00:00:00Z"}`, i+1))
	}
	stored(t, r, 1)
	at := time.Since(time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)).Microseconds()
	r.Client("ZADD", "notiflux:{0}:r", fmt.Sprint(at), `{"sub":"old","expires":"2025-01-01T00:00:00Z"}`)
	on(t, r.Addr)
	stored(t, r, 1)
}
