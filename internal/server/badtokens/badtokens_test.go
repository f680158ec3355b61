// Package badtokens_test sends bad tokens to a whole server.
package badtokens_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// A tokenKey signs any header and claims.
type tokenKey struct{ *ecdsa.PrivateKey }

func newTokenKey(t *testing.T) tokenKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return tokenKey{key}
}

func (k tokenKey) publicPEM(t *testing.T) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func (k tokenKey) sign(t *testing.T, header, claims string) string {
	t.Helper()
	encode := base64.RawURLEncoding.EncodeToString
	input := encode([]byte(header)) + "." + encode([]byte(claims))
	hash := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, k.PrivateKey, hash[:])
	if err != nil {
		t.Fatal(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return input + "." + encode(signature)
}

// A badToken is a token, and the codes with which the server refuses to subscribe to the topic
// "t", and to publish to it. An empty code means that it does not refuse.
type badToken struct {
	name, token          string
	subscribe, broadcast pubsub.Code
}

// allowsPattern are the names of the rows that allow to subscribe to the pattern t:*.
var allowsPattern = []string{"a pattern", "a longer pattern", "both objects"}

const (
	missing, wrong, expired   = pubsub.TokenMissing, pubsub.TokenInvalid, pubsub.TokenExpired
	noScope, noTopic, revoked = pubsub.ScopeDenied, pubsub.TopicDenied, pubsub.TokenRevoked
)

// revokedInPart are the names of the rows of tokens that are revoked only for some topics.
var revokedInPart = []string{"by topic", "by pattern"}

// isRefused reports whether the server refuses the token, whatever it is used for.
func (r *badToken) isRefused() bool {
	return r.subscribe == wrong || r.subscribe == expired || r.subscribe == revoked && !slices.Contains(revokedInPart, r.name)
}

// badTokens returns a row for each kind of mistake, and some good tokens.
func badTokens(t *testing.T, ours, foreign tokenKey) []badToken {
	const es256 = `{"alg":"ES256"}`
	exp := fmt.Sprintf(`"sub":"u","exp":%d,`, time.Now().Add(time.Hour).Unix())
	past := fmt.Sprintf(`"sub":"u","exp":%d,`, time.Now().Add(-time.Hour).Unix())
	rights := func(members string) string { return ours.sign(t, es256, `{`+exp+members+`}`) }
	const both = `"scope":"subscribe broadcast","topic":"t"`
	good := rights(both)
	header := func(header string) string { return ours.sign(t, header, `{`+exp+both+`}`) }
	unsigned := good[:strings.LastIndexByte(good, '.')+1]
	return []badToken{
		{"good", good, "", ""},
		{"none", "", missing, missing},
		{"one part", "x", wrong, wrong},
		{"no signature", unsigned, wrong, wrong},
		{"a signature of zeros", unsigned + strings.Repeat("A", 86), wrong, wrong},
		{"padded", good + "==", wrong, wrong},
		{"four parts", good + ".AA", wrong, wrong},
		{"cut", good[:len(good)-4], wrong, wrong},
		{"8 KiB of text", strings.Repeat("A", 8<<10), wrong, wrong},
		{"another key", foreign.sign(t, es256, `{`+exp+both+`}`), wrong, wrong},
		{"another key, expired", foreign.sign(t, es256, `{`+past+both+`}`), wrong, wrong},
		{"alg none", header(`{"alg":"none"}`), wrong, wrong},
		{"alg HS256", header(`{"alg":"HS256"}`), wrong, wrong},
		{"alg RS256", header(`{"alg":"RS256"}`), wrong, wrong},
		{"alg twice", header(`{"alg":"none","alg":"ES256"}`), wrong, wrong},
		{"crit", header(`{"alg":"ES256","crit":["exp"]}`), wrong, wrong},
		{"b64", header(`{"alg":"ES256","b64":false}`), wrong, wrong},
		{"jku", header(`{"alg":"ES256","jku":"http://127.0.0.1:1/"}`), wrong, wrong},
		{"typ of something else", header(`{"alg":"ES256","typ":"dpop+jwt"}`), wrong, wrong},
		{"kid", header(`{"alg":"ES256","kid":"../key"}`), "", ""}, // The key has no name.
		{"kid that is empty", header(`{"alg":"ES256","kid":""}`), wrong, wrong},
		{"expired", ours.sign(t, es256, `{`+past+both+`}`), expired, expired},
		{"not valid yet", rights(fmt.Sprintf(`"nbf":%d,`, time.Now().Add(time.Hour).Unix()) + both), wrong, wrong},
		{"no exp", ours.sign(t, es256, `{"sub":"u",`+both+`}`), wrong, wrong},
		{"no sub", ours.sign(t, es256, strings.Replace(`{`+exp+both+`}`, `"sub":"u",`, "", 1)), wrong, wrong},
		{"sub twice", rights(`"sub":"v",` + both), wrong, wrong},
		{"jti is a number", rights(`"jti":1,` + both), "", ""},
		{"iss and aud that nobody demands", rights(`"iss":5,"aud":"x",` + both), "", ""},
		{"no scope", rights(`"topic":"t"`), wrong, wrong},
		{"no topic", rights(`"scope":"subscribe"`), wrong, wrong},
		{"another topic", rights(`"scope":"subscribe broadcast","topic":"tt"`), noTopic, noTopic},
		{"only subscribe", rights(`"scope":"subscribe","topic":"t"`), "", noScope},
		{"only broadcast", rights(`"scope":"broadcast","topic":"t"`), noScope, ""},

		{"a topic with a star", rights(`"scope":"subscribe broadcast","topics":["t*","*"]`), noTopic, noTopic},
		{"a pattern", rights(`"scope":"subscribe broadcast","patterns":["t*"]`), "", ""},
		{"a longer pattern", rights(`"scope":"subscribe broadcast","patterns":["t:*"]`), noTopic, noTopic},
		{"a pattern in capitals", rights(`"scope":"subscribe broadcast","patterns":["T*"]`), noTopic, noTopic},
		{"a pattern without a star", rights(`"scope":"subscribe","patterns":["t"]`), wrong, wrong},
		{"a star in front", rights(`"scope":"subscribe","patterns":["*t"]`), wrong, wrong},
		{"a pattern that is no text", rights(`"scope":"subscribe","patterns":[1]`), wrong, wrong},
		{"patterns is a text", rights(`"scope":"subscribe","patterns":"t*"`), wrong, wrong},
		{"101 patterns", rights(`"scope":"subscribe","patterns":[` + strings.Repeat(`"t*",`, 100) + `"t*"]`), wrong, wrong},
		{"subscribe to everything", rights(`"scope":"subscribe","patterns":["*"]`), wrong, wrong},
		{"broadcast to everything", rights(`"scope":"broadcast","patterns":["*"]`), noScope, ""},
		{"patterns without a scope", rights(`"patterns":["t*"]`), wrong, wrong},

		{"subscribe object", rights(`"subscribe":{"topics":["t"]}`), "", noScope},
		{"broadcast object", rights(`"broadcast":{"patterns":["*"]}`), noScope, ""},
		{"both objects", rights(`"subscribe":{"patterns":["t*"]},"broadcast":{"topics":["x"]}`), "", noTopic},
		{"a pattern among topics", rights(`"subscribe":{"topics":["t*"]},"broadcast":{"topics":["*"]}`), noTopic, noTopic},
		{"subscribe to everything, object", rights(`"subscribe":{"patterns":["*"]}`), wrong, wrong},
		{"subscribe is a list", rights(`"subscribe":["t"]`), wrong, wrong},
		{"subscribe is true", rights(`"subscribe":true`), wrong, wrong},
		{"another member", rights(`"subscribe":{"topics":["t"],"except":["t"]}`), wrong, wrong},
		{"a member in capitals", rights(`"subscribe":{"Topics":["t"]}`), wrong, wrong},
		{"subscribe in capitals", rights(`"Subscribe":{"topics":["t"]}`), wrong, wrong},
		{"a member twice", rights(`"subscribe":{"topics":["x"],"topics":["t"]}`), wrong, wrong},
		{"objects without entries", rights(`"subscribe":{},"broadcast":{"topics":[]}`), wrong, wrong},
	}
}

// A table of bad tokens: each is refused with its code in every place that takes a token, and the
// server stays ready. Once their key is withdrawn, good tokens are like those of a foreign key.
func TestBadTokens(t *testing.T) {
	ours, foreign := newTokenKey(t), newTokenKey(t)
	file := filepath.Join(t.TempDir(), "keys.pem")
	write := func(keys ...tokenKey) {
		t.Helper()
		var all []byte
		for _, key := range keys {
			all = append(all, key.publicPEM(t)...)
		}
		if err := os.WriteFile(file+".new", all, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	write(ours)
	s := servertest.Start(t, func(c *config.Serve) {
		c.JWTPublicKeyFile, c.PublicTopics = file, []string{"public", "news:*"}
	})
	rows := badTokens(t, ours, foreign)
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) { checkToken(t, s, row) })
	}

	// The keys are exchanged: what was good, and only that, now has a wrong signature.
	write(foreign)
	for end := time.Now().Add(time.Minute); postToken(t, s, "Bearer "+rows[0].token) == ""; {
		if time.Now().After(end) {
			t.Fatal("after a minute, the withdrawn key works")
		}
	}
	for _, row := range rows[:2] {
		if row.subscribe == "" {
			row.subscribe, row.broadcast = wrong, wrong
		}
		t.Run(row.name+", withdrawn", func(t *testing.T) { checkToken(t, s, row) })
	}
	t.Run("the new key", func(t *testing.T) {
		fresh := badTokens(t, foreign, ours)
		checkToken(t, s, fresh[0])
		checkToken(t, s, fresh[len(fresh)-1])
	})
}

// Each key verifies only tokens with the issuer and the audience that are configured with it.
func TestBadTokensOfIssuers(t *testing.T) {
	own, provider := newTokenKey(t), newTokenKey(t)
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	point, err := provider.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	jwks := fmt.Sprintf(`{"keys":[{"kid":"1","kty":"EC","crv":"P-256","x":%q,"y":%q}]}`, encode(point[1:33]), encode(point[33:]))
	s := servertest.Start(t, func(c *config.Serve) {
		c.JWTPublicKeyFile, c.JWTIssuer, c.JWTAudience = write("keys.pem", own.publicPEM(t)), "https://own/", "chat"
		c.JWKSURL, c.JWKSIssuer, c.JWKSAudience = "file:"+write("jwks.json", []byte(jwks)), "https://id/", "rooms"
		c.PublicTopics = []string{"public", "news:*"}
	})
	rights := fmt.Sprintf(`"sub":"u","exp":%d,"scope":"subscribe broadcast","topic":"t"`, time.Now().Add(time.Hour).Unix())
	sign := func(key tokenKey, header, members string) string { return key.sign(t, header, `{`+rights+members+`}`) }
	const plain, kid = `{"alg":"ES256"}`, `{"alg":"ES256","kid":"1"}`
	const ofOwn, ofProvider = `,"iss":"https://own/","aud":"chat"`, `,"iss":"https://id/","aud":["x","rooms"]`
	for _, row := range []badToken{
		{"own", sign(own, plain, ofOwn), "", ""},
		{"of the provider", sign(provider, kid, ofProvider), "", ""},
		{"of the provider, without a kid", sign(provider, plain, ofProvider), "", ""},
		{"own key, issuer of the provider", sign(own, plain, ofProvider), wrong, wrong},
		{"own key, issuer and kid of the provider", sign(own, kid, ofProvider), wrong, wrong},
		{"key of the provider, own issuer", sign(provider, kid, ofOwn), wrong, wrong},
		{"no issuer", sign(own, plain, `,"aud":"chat"`), wrong, wrong},
		{"no audience", sign(own, plain, `,"iss":"https://own/"`), wrong, wrong},
		{"audience of the other issuer", sign(own, plain, `,"iss":"https://own/","aud":"rooms"`), wrong, wrong},
		{"audience in capitals", sign(provider, kid, `,"iss":"https://id/","aud":"Rooms"`), wrong, wrong},
		{"audience with a number", sign(provider, kid, `,"iss":"https://id/","aud":["rooms",1]`), wrong, wrong},
		{"no audience in the list", sign(provider, kid, `,"iss":"https://id/","aud":[]`), wrong, wrong},
		{"issuer without the slash", sign(provider, kid, `,"iss":"https://id","aud":"rooms"`), wrong, wrong},
		{"issuer in a list", sign(provider, kid, `,"iss":["https://id/"],"aud":"rooms"`), wrong, wrong},
		{"issuer twice", sign(provider, kid, `,"iss":"x"`+ofProvider), wrong, wrong},
		{"issuer in capitals", sign(provider, kid, `,"Iss":"https://id/","aud":"rooms"`), wrong, wrong},
		{"alg none", sign(provider, `{"alg":"none","kid":"1"}`, ofProvider), wrong, wrong},
	} {
		t.Run(row.name, func(t *testing.T) { checkToken(t, s, row) })
	}
	// Each such token waits until the file has been read again, so one place must do.
	if got := postToken(t, s, "Bearer "+sign(provider, `{"alg":"ES256","kid":"2"}`, ofProvider)); got != wrong {
		t.Errorf("an unknown kid: %q, want %q", got, wrong)
	}
}

// Every place refuses tokens that are revoked, in each way in which they can be, and no others.
func TestRevokedTokens(t *testing.T) {
	key := newTokenKey(t)
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, key.publicPEM(t), 0o600); err != nil {
		t.Fatal(err)
	}
	s := servertest.Start(t, func(c *config.Serve) {
		c.JWTPublicKeyFile, c.PublicTopics = file, []string{"public", "news:*"}
	})
	now := time.Now().Unix()
	sign := func(subject, members string) string {
		return key.sign(t, `{"alg":"ES256"}`, fmt.Sprintf(`{"sub":%q,"exp":%d,"scope":"subscribe broadcast","topic":"t"%s}`, subject, now+3600, members))
	}
	for _, entry := range []string{
		`{"jti":"one"}`, `{"sub":"ann"}`, `{"sub":"carl","topics":["t"]}`, `{"sub":"dora","patterns":["t*"]}`, `{"sub":"emil","topics":["x"],"patterns":["x*"]}`,
	} {
		response, err := s.HTTP.Post(s.AdminURL+"/api/v1/revocations", "application/json", strings.NewReader(entry))
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("%s: %v, %v", entry, response, err)
		}
		response.Body.Close()
	}
	before, after := fmt.Sprintf(`,"iat":%d`, now-60), fmt.Sprintf(`,"iat":%d`, now+30)
	for _, row := range []badToken{
		{"by jti", sign("u", `,"jti":"one"`), revoked, revoked},
		{"another jti", sign("u", `,"jti":"One"`), "", ""},
		{"by sub", sign("ann", before), revoked, revoked},
		{"by sub, without iat", sign("ann", ""), revoked, revoked},
		{"by sub, issued later", sign("ann", after), "", ""},
		{"another sub", sign("Ann", before), "", ""},
		{"by topic", sign("carl", before), revoked, revoked},
		{"by pattern", sign("dora", before), revoked, revoked},
		{"for other topics", sign("emil", before), "", ""},
	} {
		t.Run(row.name, func(t *testing.T) { checkToken(t, s, row) })
	}
}

// checkToken sends a token to every place that takes one.
func checkToken(t *testing.T, s *servertest.Server, row badToken) {
	t.Helper()
	expect := func(place string, got, want pubsub.Code) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %q, want %q", place, got, want)
		}
	}
	bearer := ""
	if row.token != "" {
		bearer = "Bearer " + row.token
		expect("POST /broadcast, member", code(t, s, "POST", "/broadcast", "", `{"topic":"t","message":1,"token":"`+row.token+`"}`), row.broadcast)
		expect("GET /history, query", code(t, s, "GET", "/history?topic=t&token="+row.token, "", ""), row.subscribe)
		expect("POST /poll, member", code(t, s, "POST", "/poll", "", `{"topics":["t"],"wait":0,"token":"`+row.token+`"}`), row.subscribe)
	}
	expect("POST /broadcast", postToken(t, s, bearer), row.broadcast)
	for _, path := range []string{"/history?topic=t", "/presence?topic=t", "/poll?topic=t&wait=0", "/events?topic=t", "/stream?topic=t"} {
		expect("GET "+path, code(t, s, "GET", path, bearer, ""), row.subscribe)
	}
	// A token that is wrong is refused for public topics, too. With any other, or without one,
	// they can be read, but not published to.
	public := row.subscribe
	if !row.isRefused() {
		public = ""
	}
	for _, path := range []string{"/history?topic=public", "/poll?topic=news:1&wait=0"} {
		expect("GET "+path, code(t, s, "GET", path, bearer, ""), public)
	}

	pattern := row.subscribe
	switch {
	case slices.Contains(allowsPattern, row.name):
		pattern = ""
	case !row.isRefused() && pattern != missing && pattern != noScope:
		pattern = noTopic
	}
	conn, _, err := websocket.Dial(t.Context(), s.URL+"/ws", &websocket.DialOptions{Subprotocols: []string{"notiflux.v1.json"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	client := s.Client(conn)
	client.Next() // welcome
	token := ""
	if row.token != "" {
		token = `,"token":"` + row.token + `"`
		client.Say(`{"type":"auth","id":1` + token + `}`)
		want := row.subscribe
		if !row.isRefused() {
			want = ""
		}
		expect("auth", codeOf(client.Next()), want)
	}
	for command, want := range map[string]pubsub.Code{
		`{"type":"subscribe","topics":["t"]`:          row.subscribe,
		`{"type":"subscribe","topics":["public"]`:     public,
		`{"type":"subscribe","patterns":["t:*"]`:      pattern,
		`{"type":"history","topic":"t"`:               row.subscribe,
		`{"type":"presence","topic":"t"`:              row.subscribe,
		`{"type":"broadcast","topic":"t","message":1`: row.broadcast,
	} {
		client.Say(command + `,"id":2` + token + `}`)
		answer := client.Next()
		for strings.HasPrefix(answer, `{"type":"message"`) {
			answer = client.Next()
		}
		expect("JSON: "+command, codeOf(answer), want)
	}

	if row.token != "" {
		text := s.Connect()
		text.Say("/subscribe t " + row.token)
		text.Say("/dance") // to have an answer in any case
		answer := text.Next()
		if refused := strings.HasPrefix(answer, "Subscribe to t denied: "); refused != (row.subscribe != "") {
			t.Errorf("text: %q, want it refused: %t", answer, row.subscribe != "")
		}
	}
	if r, err := s.HTTP.Get(s.URL + "/readyz"); err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("/readyz after it: %v, %v", r, err)
	} else {
		r.Body.Close()
	}
}

func postToken(t *testing.T, s *servertest.Server, bearer string) pubsub.Code {
	t.Helper()
	return code(t, s, "POST", "/broadcast", bearer, `{"topic":"t","message":1}`)
}

// code makes a request and returns the code of the refusal, or "" for 200.
func code(t *testing.T, s *servertest.Server, method, path, authorization, body string) pubsub.Code {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	response, err := s.HTTP.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK {
		return "" // perhaps a stream, which closing ends
	}
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return codeOf(string(bytes.TrimSpace(answer)))
}

// codeOf returns the code of a refusal in JSON: of an HTTP answer, of a command, or of its
// topic.
func codeOf(answer string) pubsub.Code {
	var refusal struct {
		Code    pubsub.Code
		Refused map[string]struct{ Code pubsub.Code }
	}
	if err := json.Unmarshal([]byte(answer), &refusal); err != nil {
		return pubsub.Code("not JSON: " + answer)
	}
	for _, r := range refusal.Refused {
		return r.Code
	}
	return refusal.Code
}
