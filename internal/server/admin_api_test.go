package server_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

const adminSecret = "0123456789abcdef"

// operate sends a request to the admin API, and returns the status and the decoded answer.
func operate(t *testing.T, s *servertest.Server, method, route, body string, headers ...string) (int, map[string]any) {
	t.Helper()
	r, err := http.NewRequest(method, s.AdminURL+"/api/v1/"+route, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	answer, err := s.HTTP.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	var decoded map[string]any
	if err := json.Unmarshal(data, &decoded); err != nil {
		t.Fatalf("%s %s: %s is not JSON: %v", method, route, data, err)
	}
	return answer.StatusCode, decoded
}

// mustOperate is operate for a POST that must succeed.
func mustOperate(t *testing.T, s *servertest.Server, route, body string) map[string]any {
	t.Helper()
	status, answer := operate(t, s, "POST", route, body)
	if status != 200 {
		t.Fatalf("POST %s %s = %d %v", route, body, status, answer)
	}
	return answer
}

// standAlone makes a server use the memory broker, whatever broker the tests use.
func standAlone(t *testing.T, change func(*config.Serve)) *servertest.Server {
	t.Helper()
	t.Setenv("NOTIFLUX_TEST_BROKER", "")
	return servertest.Start(t, change)
}

func grant(id, subject string, issued time.Time, scopes ...auth.Scope) auth.Grant {
	return auth.Grant{ID: id, Subject: subject, Issued: issued, Scopes: scopes, Topics: []pubsub.Topic{"a", "b"}, Expires: time.Now().Add(time.Hour)}
}

// What relies on a revoked token is refused over HTTP, and other tokens work.
func TestRevocationsOverHTTP(t *testing.T) {
	s := standAlone(t, nil)
	both := []auth.Scope{auth.Subscribe, auth.Broadcast}
	ann := s.Sign(grant("one", "ann", time.Now().Add(-time.Minute), both...))
	again := s.Sign(grant("two", "ann", time.Now().Add(30*time.Second), both...))
	bob := s.Sign(grant("three", "bob", time.Time{}, both...))
	works := func(token, topic string, want bool) {
		t.Helper()
		for _, r := range []struct{ method, path, body string }{
			{"POST", "/broadcast", `{"topic":"` + topic + `","message":1}`},
			{"GET", "/history?topic=" + topic, ""}, {"GET", "/poll?wait=0&topic=" + topic, ""}, {"GET", "/presence?topic=" + topic, ""},
		} {
			request, _ := http.NewRequest(r.method, s.URL+r.path, strings.NewReader(r.body))
			request.Header.Set("Authorization", "Bearer "+token)
			answer, err := s.HTTP.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(answer.Body)
			answer.Body.Close()
			revoked := answer.StatusCode == 401 && strings.Contains(string(body), `"token_revoked"`)
			if revoked == want || want && answer.StatusCode != 200 {
				t.Errorf("%s %s = %d %s; want it to work: %t", r.method, r.path, answer.StatusCode, body, want)
			}
		}
	}
	works(ann, "a", true)
	answer := mustOperate(t, s, "revocations", `{"sub":"ann","topics":["a","x"],"patterns":["y:*"]}`)
	if n := len(answer["revocations"].([]any)); n != 3 || answer["until"] != "restart" {
		t.Errorf("the answer is %v, want 3 revocations until restart", answer)
	}
	works(ann, "a", false)
	works(ann, "b", true)
	works(again, "a", true) // issued later
	works(bob, "a", true)
	mustOperate(t, s, "revocations", `{"sub":"ann"}`)
	works(ann, "b", false)
	works(again, "b", true)
	mustOperate(t, s, "revocations", `{"jti":"three","expires":"2100-01-01T00:00:00+01:00"}`)
	works(bob, "b", false)
	if status, list := operate(t, s, "GET", "revocations", ""); status != 200 || list["count"] != 5. || len(list["revocations"].([]any)) != 5 {
		t.Errorf("GET revocations = %d %v", status, list)
	}
}

// The actions reach the clients that they are for.
func TestAdminActions(t *testing.T) {
	s := standAlone(t, nil)
	ann := s.Sign(grant("", "ann", time.Time{}, auth.Subscribe))
	bob := s.Sign(grant("", "bob", time.Time{}, auth.Subscribe))
	dial := func(token string) *servertest.Client {
		c := s.Connect()
		c.Say("/subscribe a " + token)
		c.Sync()
		return c
	}
	first, second, other := dial(ann), dial(ann), dial(bob)
	is := func(answer map[string]any, connections, subscriptions float64) {
		t.Helper()
		if answer["connections"] != connections || answer["subscriptions"] != subscriptions {
			t.Errorf("the answer is %v, want %v connections and %v subscriptions", answer, connections, subscriptions)
		}
	}
	is(mustOperate(t, s, "subscribe", `{"sub":"ann","topics":["c"]}`), 2, 2)
	is(mustOperate(t, s, "unsubscribe", `{"sub":"ann","topics":["b"],"patterns":["a*"]}`), 0, 2)
	is(mustOperate(t, s, "disconnect", `{"sub":"ann"}`), 2, 2)
	first.ExpectClose(closeRevoked)
	second.ExpectClose(closeRevoked)
	is(mustOperate(t, s, "disconnect", `{"connection":"0123456789abcdef"}`), 0, 0)
	is(mustOperate(t, s, "revocations", `{"sub":"bob"}`), 1, 1)
	other.ExpectClose(closeRevoked)
}

// The server explains what it would do with a token.
func TestExplain(t *testing.T) {
	s := standAlone(t, func(c *config.Serve) { c.PublicTopics = []string{"p"} })
	ann := s.Sign(grant("one", "ann", time.Time{}, auth.Subscribe))
	ask := func() (report map[string]any, a, x, p map[string]any) {
		t.Helper()
		report = mustOperate(t, s, "explain", `{"token":"`+ann+`","topics":["a","x","p"]}`)
		topics := report["topics"].([]any)
		return report, topics[0].(map[string]any), topics[1].(map[string]any), topics[2].(map[string]any)
	}
	is := func(verdict any, code string) {
		t.Helper()
		v := verdict.(map[string]any)
		if got, _ := v["code"].(string); got != code || v["allowed"] != (code == "") {
			t.Errorf("the verdict is %v, want %q", v, code)
		}
	}
	report, a, x, p := ask()
	is(report, "")
	is(a["subscribe"], "")
	is(a["broadcast"], "scope_denied")
	is(x["subscribe"], "topic_denied")
	is(p["subscribe"], "")
	if p["public"] != true || report["sub"] != "ann" || report["jti"] != "one" || report["broadcast"] != nil {
		t.Errorf("the report is %v", report)
	}
	mustOperate(t, s, "revocations", `{"sub":"ann","topics":["a"]}`)
	report, a, _, _ = ask()
	is(report, "")
	is(a["subscribe"], "token_revoked")
	mustOperate(t, s, "revocations", `{"sub":"ann"}`)
	report, a, x, _ = ask()
	is(report, "token_revoked")
	is(a["subscribe"], "token_revoked")
	is(x["subscribe"], "token_revoked")
	for body, detail := range map[string]string{`{}`: "set token", `{"token":"x","topics":[""]}`: "topic is empty", `{"token":1}`: "/token has a value of the wrong type"} {
		if status, answer := operate(t, s, "POST", "explain", body); status != 400 || !strings.Contains(answer["detail"].(string), detail) {
			t.Errorf("explain %s = %d %v, want %q", body, status, answer, detail)
		}
	}
	is(mustOperate(t, s, "explain", `{"token":"x"}`), "token_invalid")
}

// An explanation of a topic has its settings, and says where they are.
func TestExplainSettings(t *testing.T) {
	s := standAlone(t, func(c *config.Serve) {
		messages, off := 5, config.Switch(false)
		c.Sections = []config.Section{{Topic: "a*", At: "notiflux.yaml:3", HistoryMessages: &messages, Presence: &off}, {Topic: "ab*", At: "notiflux.yaml:6", History: &off}}
	})
	report := mustOperate(t, s, "explain", `{"token":"x","topics":["a","abc","b"]}`)
	var got []map[string]any
	for _, topic := range report["topics"].([]any) {
		got = append(got, topic.(map[string]any)["settings"].(map[string]any))
	}
	history, _ := got[0]["history"].(map[string]any)
	if got[0]["section"] != "a*" || got[0]["at"] != "notiflux.yaml:3" || got[0]["presence"] != false || history["messages"] != 5. || history["age"] != "5m0s" {
		t.Errorf("the settings of a are %v", got[0])
	}
	if got[1]["section"] != "ab*" || got[1]["history"] != nil || got[1]["presence"] != true {
		t.Errorf("the settings of abc are %v", got[1])
	}
	if history, _ := got[2]["history"].(map[string]any); got[2]["section"] != nil || history["messages"] == 5. || got[2]["presence"] != true {
		t.Errorf("the settings of b are %v", got[2])
	}
}

// Wrong requests change nothing, and say what is wrong.
func TestBadAdminRequests(t *testing.T) {
	s := standAlone(t, nil)
	long := strings.Repeat("x", 256)
	many := `["a"` + strings.Repeat(`,"a"`, 100) + `]`
	for _, c := range []struct {
		method, route, body string
		status              int
		detail              string
	}{
		{"POST", "revocations", ``, 400, "must be a JSON object"},
		{"POST", "revocations", `[]`, 400, "must be a JSON object"},
		{"POST", "revocations", `{`, 400, "not valid JSON"},
		{"POST", "revocations", `{}x`, 400, "not valid JSON"},
		{"POST", "revocations", `{}`, 400, "set jti, sub or kid"},
		{"POST", "revocations", `{"topics":["a"]}`, 400, "set jti, sub or kid"},
		{"POST", "revocations", `{"sub":"x","sub":"y"}`, 400, "has a member twice"},
		{"POST", "revocations", `{"sub":"x","befor":"2026-01-01T00:00:00Z"}`, 400, "unknown member /befor"},
		{"POST", "revocations", `{"Sub":"x"}`, 400, "unknown member /Sub"},
		{"POST", "revocations", `{"` + s.Token(auth.Subscribe, "a") + `":1}`, 400, "unknown member /REDACTED"},
		{"POST", "revocations", `{"` + strings.Repeat("x", 1000) + `":1}`, 400, "xxx…: docs"},
		{"POST", "revocations", `{"sub":1}`, 400, "/sub has a value of the wrong type"},
		{"POST", "revocations", `{"sub":"x","topics":"a"}`, 400, "/topics has a value of the wrong type"},
		{"POST", "revocations", `{"sub":"x","before":1}`, 400, "/before is not a time"},
		{"POST", "revocations", `{"sub":"x","before":"now"}`, 400, "/before is not a time"},
		{"POST", "revocations", `{"sub":"x","expires":"2020-01-01T00:00:00Z"}`, 400, "expired already"},
		{"POST", "revocations", `{"sub":"x","topics":[]}`, 400, "must not be empty lists"},
		{"POST", "revocations", `{"sub":"x","topics":[""]}`, 400, "topic is empty"},
		{"POST", "revocations", `{"sub":"x","patterns":["a"]}`, 400, "does not end with *"},
		{"POST", "revocations", `{"sub":"x","topics":` + many + `}`, 400, "101 topics and patterns; the limit is 100"},
		{"POST", "revocations", `{"sub":"` + long + `"}`, 400, "256 bytes; the limit is 255"},
		{"POST", "revocations", `{"sub":"` + strings.Repeat("x", 300<<10) + `"}`, 413, "larger than"},
		{"POST", "revocations", `{"sub":"","kid":"k"}`, 400, "sub is empty"}, // not all tokens of the key
		{"POST", "revocations", `{"sub":"x","issuer":""}`, 400, "issuer is empty"},
		{"POST", "revocations", `{"sub":"x","issuer":"i"}`, 400, "omit issuer"},
		{"POST", "revocations", `{"sub":null,"kid":"k"}`, 400, "sub is null"},
		{"POST", "revocations", `{"sub":"x","issuer":null}`, 400, "issuer is null"},
		{"POST", "revocations", `{"sub":"x","topics":null}`, 400, "topics is null"},
		{"POST", "revocations", `{"sub":"x","expires":null}`, 400, "expires is null"},
		{"POST", "unsubscribe", `{"sub":"x","topics":["a"],"patterns":null}`, 400, "patterns is null"},
		{"POST", "disconnect", `{"sub":"x","issuer":""}`, 400, "issuer is empty"},
		{"POST", "disconnect", `{}`, 400, "set sub"},
		{"POST", "disconnect", `{"sub":"a","connection":"0123456789abcdef"}`, 400, "set one of them"},
		{"POST", "disconnect", `{"connection":"x"}`, 400, "connection name is malformed"},
		{"POST", "disconnect", `{"topics":["a"]}`, 400, "unknown member /topics"},
		{"POST", "unsubscribe", `{"sub":"a"}`, 400, "names no topic"},
		{"POST", "unsubscribe", `{"topics":["a"]}`, 400, "set sub"},
		{"POST", "subscribe", `{"sub":"a","patterns":["a*"]}`, 400, "name the topics"},
		{"GET", "disconnect", ``, 405, "POST"},
		{"POST", "", `{}`, 404, "nothing at this path"},
		{"POST", "revocations/", `{}`, 404, "extra slash"},
	} {
		status, answer := operate(t, s, c.method, c.route, c.body)
		if detail, _ := answer["detail"].(string); status != c.status || !strings.Contains(detail, c.detail) {
			t.Errorf("%s %s %.60s = %d %v; want %d with %q", c.method, c.route, c.body, status, answer, c.status, c.detail)
		}
	}
	if status, answer := operate(t, s, "POST", "revocations", `{"sub":"x"}`, "Content-Type: text/plain"); status != 415 {
		t.Errorf("a body in plain text = %d %v, want 415", status, answer)
	}
	for _, method := range []string{"GET", "POST", "OPTIONS"} {
		for _, page := range []string{"https://evil.example.com", "http://127.0.0.1:3000", s.AdminURL} {
			status, answer := operate(t, s, method, "revocations", `{"sub":"x"}`, "Origin: "+page)
			if status != 403 {
				t.Errorf("%s from a page of %s = %d %v, want 403", method, page, status, answer)
			}
		}
	}
	if status, answer := operate(t, s, "POST", "revocations", `{"sub":"x"}`, "Host: x"); status != 200 {
		t.Errorf("a good request after all of these = %d %v", status, answer)
	}
	if _, list := operate(t, s, "GET", "revocations", ""); list["count"] != 1. {
		t.Errorf("the list is %v, want 1 revocation", list)
	}
}

// A request that names an issuer whose tokens the server does not take would concern nobody.
func TestActionsOfAnIssuer(t *testing.T) {
	s := standAlone(t, func(c *config.Serve) { c.JWTIssuer = "own" })
	for _, route := range []string{"revocations", "disconnect", "unsubscribe", "subscribe"} {
		body := func(issuer string) string {
			if route == "revocations" || route == "disconnect" {
				return `{"sub":"x","issuer":"` + issuer + `"}`
			}
			return `{"sub":"x","topics":["a"],"issuer":"` + issuer + `"}`
		}
		mustOperate(t, s, route, body("own"))
		status, answer := operate(t, s, "POST", route, body("another"))
		if detail, _ := answer["detail"].(string); status != 400 || !strings.Contains(detail, `the issuers of this server are ["own"]`) {
			t.Errorf("%s with another issuer = %d %v", route, status, answer)
		}
	}
}

func TestAdminToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(adminSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := standAlone(t, func(c *config.Serve) { c.AdminTokenFile = path })
	for _, c := range []struct {
		header string
		status int
	}{
		{"X: y", 401}, {"Authorization: ", 401}, {"Authorization: Bearer", 401}, {"Authorization: Bearer ", 401},
		{"Authorization: Bearer x", 401}, {"Authorization: Basic " + adminSecret, 401}, {"Authorization: Bearer " + adminSecret + "0", 401},
		{"Authorization: Bearer " + adminSecret[1:], 401}, {"Authorization: " + adminSecret, 401},
		{"Authorization: Bearer " + adminSecret, 200}, {"Authorization: bearer " + adminSecret, 200},
	} {
		if status, answer := operate(t, s, "GET", "revocations", "", c.header); status != c.status {
			t.Errorf("with %q, GET revocations = %d %v; want %d", c.header, status, answer, c.status)
		}
	}
	if strings.Contains(s.Log(), adminSecret) {
		t.Error("the log has the secret")
	}
	if err := os.WriteFile(path, []byte("another-secret-of-ours"), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, _ := operate(t, s, "GET", "revocations", "", "Authorization: Bearer "+adminSecret); status != 401 {
		t.Errorf("with the old content of the file, GET revocations = %d, want 401", status)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if status, _ := operate(t, s, "GET", "revocations", "", "Authorization: Bearer "); status != 503 {
		t.Errorf("with an empty file, GET revocations = %d, want 503", status)
	}
	if r, err := s.HTTP.Get(s.AdminURL + "/metrics"); err != nil || r.StatusCode != 200 {
		t.Errorf("GET /metrics = %v, %v; want 200 without the secret", r, err)
	} else {
		r.Body.Close()
	}
}

// Off the loopback address, the API is served only with a token.
func TestAdminAPIOnAllAddresses(t *testing.T) {
	all := "0.0.0.0:0"
	s := standAlone(t, func(c *config.Serve) { c.AdminAddr = &all })
	status, answer := operate(t, s, "GET", "revocations", "")
	if detail, _ := answer["detail"].(string); status != 404 || !strings.Contains(detail, "--admin-token-file") {
		t.Errorf("GET revocations = %d %v, want 404 with --admin-token-file", status, answer)
	}
}

func TestAdminUnixSocket(t *testing.T) {
	folder, err := os.MkdirTemp("", "notiflux") // t.TempDir may be longer than the name of a socket can be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	path := filepath.Join(folder, "admin.sock")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	left.Close() // as after a crash
	addr := config.UnixPrefix + path
	s := standAlone(t, func(c *config.Serve) { c.AdminAddr = &addr })
	if s.AdminURL != addr {
		t.Errorf("AdminURL = %q, want %q", s.AdminURL, addr)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket has mode %v, %v; want 0600", info.Mode(), err)
	}
	s.HTTP.Transport.(*http.Transport).DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	s.AdminURL = "http://localhost"
	mustOperate(t, s, "revocations", `{"sub":"ann"}`)
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("after the end, the socket is there: %v", err)
	}
}

// Revocations in a file last over a restart, and the list is bounded by the life of tokens.
func TestRevocationsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "revocations")
	change := func(c *config.Serve) { c.RevocationsFile, c.MaxTokenLife = path, time.Hour }
	s := standAlone(t, change)
	answer := mustOperate(t, s, "revocations", `{"sub":"ann"}`)
	expires, err := time.Parse(time.RFC3339, answer["revocations"].([]any)[0].(map[string]any)["expires"].(string))
	if life := time.Until(expires); answer["until"] != "expires" || err != nil || life < time.Hour || life > time.Hour+2*auth.Leeway {
		t.Errorf("the answer is %v, want until expires, in about an hour", answer)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	s = standAlone(t, change)
	if _, list := operate(t, s, "GET", "revocations", ""); list["count"] != 1. {
		t.Errorf("after a restart, the list is %v", list)
	}
	g := grant("", "ann", time.Now(), auth.Subscribe)
	g.Expires = g.Issued.Add(2 * time.Hour)
	if status, body := text(t, s, s.URL+"/history?topic=a&token="+s.Sign(g)); status != 401 || !strings.Contains(body, "this server accepts at most 1h0m0s") {
		t.Errorf("a token for two hours = %d %s", status, body)
	}
}
