package auth_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

func TestBadHeaders(t *testing.T) {
	issuer := newIssuer(t, 1)
	verifier := issuer.verifier(t, auth.Config{})
	for _, header := range []string{
		`{"alg":"none"}`, `{"alg":"None"}`, `{"alg":"NONE"}`, `{"alg":"nOnE"}`,
		`{"alg":"HS256"}`, `{"alg":"RS256"}`, `{"alg":"PS256"}`, `{"alg":"ES384"}`, `{"alg":"ES512"}`, `{"alg":"EdDSA"}`,
		`{"alg":"es256"}`, `{"alg":"ES256 "}`, `{"alg":""}`, `{"alg":null}`, `{"alg":["ES256"]}`, `{"alg":256}`, `{}`, `{"typ":"JWT"}`,
		`{"alg":"ES256","kid":""}`,
		`{"alg":"ES256","kid":null}`, `{"alg":"ES256","kid":1}`,
		`{"alg":"ES256","jwk":{"kty":"EC"}}`, `{"alg":"ES256","jku":"https://example.com/keys"}`, `{"alg":"ES256","x5u":"https://example.com/cert"}`,
		`{"alg":"ES256","x5c":["AA"]}`, `{"alg":"ES256","crit":["exp"]}`, `{"alg":"ES256","crit":[]}`, `{"alg":"ES256","b64":false,"crit":["b64"]}`, `{"alg":"ES256","b64":false}`, `{"alg":"ES256","b64":true}`,
		`{"alg":"ES256","typ":"at+jwt "}`, `{"alg":"ES256","typ":"dpop+jwt"}`, `{"alg":"ES256","typ":"application/"}`, `{"alg":"ES256","typ":""}`, `{"alg":"ES256","typ":null}`, `{"alg":"ES256","typ":1}`,
		`{"alg":"none","alg":"ES256"}`, `{"alg":"ES256","alg":"ES256"}`, `{"alg":"ES256","\u0061lg":"ES256"}`,
		`{"Alg":"ES256"}`, `{"alg":"ES256","ALG":"none"}`, `{"alg":"ES256","Crit":[]}`, `{"alg":"ES256","\u212aid":"x"}`, `{"alg":"ES256","x":1,"X":2}`,
		`{"alg":"ES256"}{}`, `{"alg":"ES256"} x`, `{"alg":"ES256",}`, `{"alg":"ES256"`, `{"alg":'ES256'}`, `{alg:"ES256"}`,
		`null`, `[]`, `["alg","ES256"]`, `"ES256"`, `1`, `x`, "\xef\xbb\xbf" + goodHeader, "{\"alg\":\"ES256\",\"x\":\"\xff\"}",
		`{"alg":"ES256","x":{"a":1,"a":2}}`, strings.Repeat("[", 5000),
	} {
		t.Run(header[:min(len(header), 60)], func(t *testing.T) {
			token := issuer.token(t, header, goodPayload)
			_, err := verifier.Verify(token)
			wantRefused(t, token, err, pubsub.TokenInvalid)
		})
	}
}

func TestBadPayloads(t *testing.T) {
	const exp = `"exp":1767326645`
	with := func(members string) string { return `{` + goodMembers + `,` + members + `}` }
	table := map[pubsub.Code][]string{
		pubsub.TokenExpired: {
			with(`"exp":1767322984`), with(`"exp":1767322985`), with(`"exp":1767322984.999`), with(`"exp":0`), with(`"exp":1`),
		},
		pubsub.TokenInvalid: {
			`{` + goodMembers + `}`, with(`"exp":null`), with(`"exp":"1767326645"`), with(`"exp":-1`), with(`"exp":1e300`), with(`"exp":1e400`),
			with(`"exp":true`), with(`"exp":[1767326645]`), with(`"exp":{}`), with(`"exp":0x7fffffff`), with(`"exp":+1767326645`), with(`"exp":01767326645`),
			with(`"exp":253402300800`), with(`"exp":NaN`), with(`"exp":Infinity`), with(`"exp":1767326645,"exp":1767326645`),
			with(exp + `,"nbf":1767323106`), with(exp + `,"nbf":"0"`), with(exp + `,"nbf":-1`),
			with(exp + `,"iat":1767323106`), with(exp + `,"iat":"0"`), with(exp + `,"iat":1e300`),
			with(exp + `,"TOPICS":["b"]`), with(exp + `,"Scope":"broadcast"`), with(exp + `,"topic\u017f":["b"]`), with(exp + `,"\u017fub":"v"`),
			with(exp + `,"Exp":1`), with(exp + `,"x":1,"X":1`), with(exp + `,"ä":1,"Ä":1`), with(exp + `,"topic":"a"`), with(exp + `,"x":1,"x":1`),
			with(exp + `,"info":{"a":1,"a":2}`), with(exp + `,"Until":1`), with(exp + `,"JTI":""`),
			with(exp + `,"jti":1`), with(exp + `,"jti":["x"]`), with(exp + `,"jti":"` + strings.Repeat("x", 256) + `"`),
			`{` + exp + `,"scope":"subscribe","topic":"a"}`, `{` + exp + `,"scope":"subscribe","topic":"a","sub":null}`,
			`{` + exp + `,"scope":"subscribe","topic":"a","sub":1}`, `{` + exp + `,"scope":"subscribe","topic":"a","sub":"` + strings.Repeat("x", 256) + `"}`,
			`{` + exp + `,"sub":"u","topic":"a"}`, `{` + exp + `,"sub":"u","topic":"a","scope":""}`, `{` + exp + `,"sub":"u","topic":"a","scope":"Subscribe"}`,
			`{` + exp + `,"sub":"u","topic":"a","scope":null}`, `{` + exp + `,"sub":"u","topic":"a","scope":["subscribe broadcast"]}`,
			`{` + exp + `,"sub":"u","topic":"a","scope":[]}`, `{` + exp + `,"sub":"u","topic":"a","scope":["Subscribe"]}`, `{` + exp + `,"sub":"u","topic":"a","scope":["subscribe",1]}`,
			`{` + exp + `,"sub":"u","topic":"a","scope":["subscribe",null]}`, `{` + exp + `,"sub":"u","topic":"a","scope":["subscribe",["broadcast"]]}`,
			`{` + exp + `,"sub":"u","topic":"a","scope":{"subscribe":true}}`, `{` + exp + `,"sub":"u","scope":"subscribe","topic":null,"topics":null}`,
			`{` + exp + `,"sub":"u","topic":"a","scope":"subscribe,broadcast"}`, `{` + exp + `,"sub":"u","topic":"a","scope":"subscribe\tbroadcast"}`,
			`{` + exp + `,"sub":"u","scope":"subscribe"}`, `{` + exp + `,"sub":"u","scope":"subscribe","topics":[]}`,
			`{` + exp + `,"sub":"u","scope":"subscribe","topics":"a"}`, `{` + exp + `,"sub":"u","scope":"subscribe","topics":null}`,
			`{` + exp + `,"sub":"u","scope":"subscribe","topic":["a"]}`, `{` + exp + `,"sub":"u","scope":"subscribe","topic":null}`,
			`{` + exp + `,"sub":"u","scope":"subscribe","topic":""}`, `{` + exp + `,"sub":"u","scope":"subscribe","topic":"a\u0000"}`,
			`{` + exp + `,"sub":"u","scope":"subscribe","topic":"` + strings.Repeat("x", 256) + `"}`,
			with(exp + `,"topics":[null]`), with(exp + `,"topics":[1]`), with(exp + `,"topics":["b",["c"]]`), with(exp + `,"topics":["b",""]`),
			with(exp + `,"topics":["b\n"]`), with(exp + `,"topics":{"b":1}`), with(exp + `,"topics":["b"`), with(exp + `,"topics":["\ud800"]`),
			with(exp + `,"topics":` + topicList(1001)),
			with(exp + `,"patterns":"a*"`), with(exp + `,"patterns":["a"]`), with(exp + `,"patterns":["a*",""]`), with(exp + `,"patterns":[1]`),
			with(exp + `,"patterns":{"a*":1}`), with(exp + `,"patterns":["a\u0000*"]`), with(exp + `,"patterns":["` + strings.Repeat("x", 256) + `*"]`),
			with(exp + `,"patterns":[` + strings.Repeat(`"a*",`, 100) + `"b*"]`), with(exp + `,"Patterns":["a*"]`), with(exp + `,"Broadcast":{}`),
			with(exp + `,"scope":"subscribe broadcast","patterns":["a*","*"]`),
			`{` + exp + `,"sub":"u","scope":"subscribe","patterns":["*"]}`, `{` + exp + `,"sub":"u","scope":["subscribe","broadcast"],"patterns":["*"]}`,
			`{` + exp + `,"sub":"u","patterns":["a*"]}`, `{` + exp + `,"sub":"u","scope":"subscribe","patterns":[]}`,
			`{` + exp + `,"sub":"u","scope":"subscribe","patterns":null,"broadcast":{"topics":[]}}`,
			`{` + exp + `,"sub":"u","subscribe":{}}`, `{` + exp + `,"sub":"u","subscribe":{"topics":[],"patterns":[]},"broadcast":{}}`,
			`{` + exp + `,"sub":"u","topic":"a","broadcast":{"topics":["b"]}}`, `{` + exp + `,"sub":"u","broadcast":["b"]}`, `{` + exp + `,"sub":"u","broadcast":"b"}`,
			`{` + exp + `,"sub":"u","broadcast":{"topic":"b"}}`, `{` + exp + `,"sub":"u","broadcast":{"Topics":["b"]}}`, `{` + exp + `,"sub":"u","broadcast":{"topics":["b"],"until":1}}`,
			`{` + exp + `,"sub":"u","broadcast":{"topics":"b"}}`, `{` + exp + `,"sub":"u","broadcast":{"topics":[""]}}`, `{` + exp + `,"sub":"u","broadcast":{"patterns":["b"]}}`,
			`{` + exp + `,"sub":"u","broadcast":{"topics":["b"],"topics":["c"]}}`, `{` + exp + `,"sub":"u","subscribe":{"patterns":["a*","*"]}}`,
			`{` + exp + `,"sub":"u","subscribe":{"topics":` + topicList(501) + `},"broadcast":{"topics":` + topicList(500) + `}}`,
			`null`, `[]`, `[` + goodPayload + `]`, `"a"`, `1`, `true`, `{}`, ` `, goodPayload + `{}`, goodPayload + `x`, goodPayload + "\x00", goodPayload[:len(goodPayload)-1],
			"\xef\xbb\xbf" + goodPayload, with(exp + ",\"x\":\"\xff\""), with(exp + ",\"x\":\"\n\""), with(exp + `,"x":` + strings.Repeat("[", 5000)),
			with(exp + `,"x":` + strings.Repeat("[", 64) + strings.Repeat("]", 64)),
		},
	}
	issuer := newIssuer(t, 1)
	verifier := issuer.verifier(t, auth.Config{})
	for code, payloads := range table {
		for _, payload := range payloads {
			t.Run(payload[max(0, len(payload)-60):], func(t *testing.T) {
				token := issuer.token(t, goodHeader, payload)
				_, err := verifier.Verify(token)
				wantRefused(t, token, err, code)
				if _, ok := verifier.Cached(token); ok {
					t.Error("Cached = true, want false")
				}
			})
		}
	}
}

// topicList returns a JSON list of n different topics of two letters.
func topicList(n int) string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("%q", string([]rune{rune('A' + i/40), rune('A' + i%40)}))
	}
	return strings.ReplaceAll(`[`+strings.Join(names, ",")+`]`, `\\`, `-`)
}

func TestGoodTokens(t *testing.T) {
	const exp = `"exp":1767326645`
	issuer := newIssuer(t, 1)
	verifier := issuer.verifier(t, auth.Config{})
	for name, token := range map[string]auth.Token{
		"plain":                issuer.token(t, goodHeader, goodPayload),
		"no typ":               issuer.token(t, `{"alg":"ES256"}`, goodPayload),
		"typ in small letters": issuer.token(t, `{"alg":"ES256","typ":"jwt"}`, goodPayload),
		"typ of access tokens": issuer.token(t, `{"alg":"ES256","typ":"at+jwt"}`, goodPayload),
		"typ as media type":    issuer.token(t, `{"alg":"ES256","typ":"application/at+JWT"}`, goodPayload),
		"a number past floats": issuer.token(t, `{"alg":"ES256","x":1e999}`, strings.TrimSuffix(goodPayload, "}")+`,"x":1e999}`),
		"kid of a key without": issuer.token(t, `{"alg":"ES256","kid":"../../etc/passwd"}`, goodPayload),
		"scope as a list":      issuer.token(t, goodHeader, `{`+exp+`,"sub":"u","scope":["openid","broadcast"],"topic":"a"}`),
		"null for absent":      issuer.token(t, goodHeader, `{`+goodMembers+`,`+exp+`,"nbf":null,"iat":null,"until":null,"info":null,"topics":null}`),
		"null for topic":       issuer.token(t, goodHeader, `{`+exp+`,"sub":"u","scope":"broadcast","topic":null,"topics":["a"]}`),
		"unknown header":       issuer.token(t, `{"alg":"ES256","cty":"x","x5t":"AA","v":{"a":[1]}}`, goodPayload),
		"64 levels":            issuer.token(t, goodHeader, `{`+goodMembers+`,`+exp+`,"x":`+strings.Repeat("[", 63)+strings.Repeat("]", 63)+`}`),
		"white space":          issuer.token(t, " { \"alg\" : \"ES256\" }\n", "\t"+goodPayload+"\r\n"),
		"escaped names":        issuer.token(t, `{"\u0061lg":"ES256"}`, `{`+goodMembers+`,"\u0065xp":1767326645}`),
		"fraction":             issuer.token(t, goodHeader, `{`+goodMembers+`,"exp":1767322985.5}`),
		"exponent":             issuer.token(t, goodHeader, `{`+goodMembers+`,"exp":1.767326645e9}`),
		"within the leeway":    issuer.token(t, goodHeader, `{`+goodMembers+`,"exp":1767322986,"nbf":1767323105,"iat":1767323105}`),
		"far future":           issuer.token(t, goodHeader, `{`+goodMembers+`,"exp":253402300799}`),
		"empty sub":            issuer.token(t, goodHeader, `{`+exp+`,"sub":"","scope":"broadcast","topic":"a"}`),
		"longest sub":          issuer.token(t, goodHeader, `{`+exp+`,"sub":"`+strings.Repeat("x", 255)+`","scope":"broadcast","topic":"a"}`),
		"other scopes":         issuer.token(t, goodHeader, `{`+exp+`,"sub":"u","scope":"openid  broadcast admin","topic":"a"}`),
		"topics only":          issuer.token(t, goodHeader, `{`+exp+`,"sub":"u","scope":"broadcast","topics":["a","a","b"]}`),
		"1,000 topics":         issuer.token(t, goodHeader, `{`+exp+`,"sub":"u","scope":"broadcast","topics":`+topicList(999)+`,"topic":"a"}`),
		"a pattern":            issuer.token(t, goodHeader, `{`+exp+`,"sub":"u","scope":"broadcast","patterns":["b*","a*"]}`),
		"every topic":          issuer.token(t, goodHeader, `{`+exp+`,"sub":"u","scope":"broadcast","patterns":["*"]}`),
		"100 patterns":         issuer.token(t, goodHeader, `{`+exp+`,"sub":"u","scope":"broadcast","patterns":[`+strings.Repeat(`"b*",`, 99)+`"a*"]}`),
		"broadcast a topic":    issuer.token(t, goodHeader, `{`+exp+`,"sub":"u","broadcast":{"topics":["a"],"patterns":null}}`),
		"broadcast a pattern":  issuer.token(t, goodHeader, `{`+exp+`,"sub":"u","scope":"subscribe","topic":"b","broadcast":{"patterns":["*"]}}`),
		"nulls for rights":     issuer.token(t, goodHeader, `{`+exp+`,"sub":"u","scope":"broadcast","topic":"a","patterns":null,"subscribe":null,"broadcast":null}`),
		"claims for later":     issuer.token(t, goodHeader, `{`+goodMembers+`,`+exp+`,"jti":"x","until":1,"info":{"name":"N"},"aud":["x"],"iss":"y"}`),
		"other members":        issuer.token(t, goodHeader, `{`+goodMembers+`,`+exp+`,"Ünder":1,"Topicality":2}`),
	} {
		t.Run(name, func(t *testing.T) {
			claims, err := verifier.Verify(token)
			if err != nil {
				t.Fatalf("Verify = %v, want nil", err)
			}
			if err := claims.Allow(auth.Broadcast, "a"); err != nil {
				t.Errorf("Allow(broadcast, a) = %v, want nil", err)
			}
			if again, ok := verifier.Cached(token); !ok || again != claims {
				t.Errorf("Cached = %p, %t, want %p, true", again, ok, claims)
			}
		})
	}
}

func TestAlgorithmIsPinnedToTheKey(t *testing.T) {
	issuer := newIssuer(t, 1)
	edKey := ed25519Key(1)
	rsaKey := rsaKey()
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public := publicPEM(t, issuer.key.Public())
	sign := map[string]func(input string) []byte{
		"ES256": func(input string) []byte { return issuer.sign(t, input) },
		"EdDSA": func(input string) []byte { return ed25519.Sign(edKey, []byte(input)) },
		"RS256": func(input string) []byte {
			hash := sha256.Sum256([]byte(input))
			return must(rsa.SignPKCS1v15(nil, rsaKey, crypto.SHA256, hash[:]))
		},
		"PS256": func(input string) []byte {
			hash := sha256.Sum256([]byte(input))
			return must(rsa.SignPSS(rand.Reader, rsaKey, crypto.SHA256, hash[:], saltLikeHash))
		},
		"HS256": func(input string) []byte { // the public key as a shared secret
			mac := hmac.New(sha256.New, public)
			mac.Write([]byte(input))
			return mac.Sum(nil)
		},
		"ES384": func(input string) []byte {
			hash := sha512.Sum384([]byte(input))
			r, s, err := ecdsa.Sign(rand.Reader, p384, hash[:])
			if err != nil {
				t.Fatal(err)
			}
			signature := make([]byte, 96)
			r.FillBytes(signature[:48])
			s.FillBytes(signature[48:])
			return signature
		},
	}
	for _, c := range []struct {
		keys     []crypto.PublicKey
		accepted string
	}{
		{nil, ""},
		{[]crypto.PublicKey{issuer.key.Public()}, "ES256"},
		{[]crypto.PublicKey{edKey.Public()}, "EdDSA"},
		{[]crypto.PublicKey{rsaKey.Public()}, "RS256 PS256"},
		{[]crypto.PublicKey{newIssuer(t, 2).key.Public(), issuer.key.Public(), edKey.Public()}, "ES256 EdDSA"},
	} {
		config := auth.Config{Now: at(now)}
		if c.keys != nil {
			config.Keys = parseKeys(t, c.keys...)
		}
		verifier := auth.New(config)
		for named := range sign {
			for signed := range sign {
				input := b64(`{"alg":"`+named+`"}`) + "." + b64(goodPayload)
				token := join(input, sign[signed](input))
				_, err := verifier.Verify(token)
				if named == signed && strings.Contains(c.accepted, named) {
					if err != nil {
						t.Errorf("keys %q: Verify(%s) = %v, want nil", c.accepted, named, err)
					}
					continue
				}
				wantRefused(t, token, err, pubsub.TokenInvalid)
			}
		}
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func TestClock(t *testing.T) {
	issuer := newIssuer(t, 1)
	for _, c := range []struct {
		payload string
		seconds float64 // of the clock
		want    pubsub.Code
		detail  string
	}{
		{`"exp":1000`, 1059.999, "", ""},
		{`"exp":1000`, 1060, pubsub.TokenExpired, "the token expired at 1970-01-01T00:16:40Z"},
		{`"exp":1000.75`, 1060.5, "", ""},
		{`"exp":1000.75`, 1060.75, pubsub.TokenExpired, ""},
		{`"exp":2000,"nbf":1000`, 940, "", ""},
		{`"exp":2000,"nbf":1000`, 939.999, pubsub.TokenInvalid, "the token is not valid before 1970-01-01T00:16:40Z"},
		{`"exp":2000,"iat":1000`, 940, "", ""},
		{`"exp":2000,"iat":1000`, 939.999, pubsub.TokenInvalid, "the token was issued at 1970-01-01T00:16:40Z, which is ahead of the server's clock"},
	} {
		t.Run(fmt.Sprintf("%s at %v", c.payload, c.seconds), func(t *testing.T) {
			clock := time.UnixMilli(int64(c.seconds * 1000))
			verifier := issuer.verifier(t, auth.Config{Now: func() time.Time { return clock }})
			token := issuer.token(t, goodHeader, `{`+goodMembers+`,`+c.payload+`}`)
			_, err := verifier.Verify(token)
			_, cached := verifier.Cached(token)
			if c.want == "" {
				if err != nil || !cached {
					t.Errorf("Verify = %v, Cached = %t, want nil, true", err, cached)
				}
				return
			}
			wantRefused(t, token, err, c.want)
			if cached {
				t.Error("Cached = true, want false")
			}
			if c.detail != "" && err.Error() != c.detail {
				t.Errorf("Verify = %q, want %q", err, c.detail)
			}
		})
	}
}

// The refusal of a token with a wrong signature reveals nothing about its claims, not even
// that it has expired.
func TestSignatureIsCheckedBeforeTheClock(t *testing.T) {
	verifier := newIssuer(t, 1).verifier(t, auth.Config{})
	token := newIssuer(t, 2).token(t, goodHeader, `{`+goodMembers+`,"exp":1000}`)
	_, err := verifier.Verify(token)
	wantRefused(t, token, err, pubsub.TokenInvalid)
}

func TestAllow(t *testing.T) {
	issuer := newIssuer(t, 1)
	verifier := issuer.verifier(t, auth.Config{})
	claims, err := verifier.Verify(issuer.token(t, goodHeader,
		`{"exp":1767326645.25,"sub":"who","scope":"subscribe","topic":"one","topics":["two","caf\u00e9","a b","*"]}`))
	if err != nil {
		t.Fatal(err)
	}
	if want := time.Unix(goodExpiry, 250e6); claims.Subject != "who" || !claims.Expires().Equal(want) {
		t.Errorf("Verify = %q until %v, want who until %v", claims.Subject, claims.Expires(), want)
	}
	for _, c := range []struct {
		scope auth.Scope
		topic pubsub.Topic
		want  pubsub.Code
	}{
		{auth.Subscribe, "one", ""},
		{auth.Subscribe, "two", ""},
		{auth.Subscribe, "café", ""},
		{auth.Subscribe, "a b", ""},
		{auth.Subscribe, "*", ""},
		{auth.Subscribe, "One", pubsub.TopicDenied},
		{auth.Subscribe, "ONE", pubsub.TopicDenied},
		{auth.Subscribe, "one ", pubsub.TopicDenied},
		{auth.Subscribe, "on", pubsub.TopicDenied},
		{auth.Subscribe, "cafe\u0301", pubsub.TopicDenied},
		{auth.Subscribe, "three", pubsub.TopicDenied},
		{auth.Subscribe, "", pubsub.TopicDenied},
		{auth.Broadcast, "one", pubsub.ScopeDenied},
		{auth.Broadcast, "three", pubsub.ScopeDenied},
		{"", "one", pubsub.ScopeDenied},
		{"admin", "one", pubsub.ScopeDenied},
	} {
		err := claims.Allow(c.scope, c.topic)
		if c.want == "" && err != nil || c.want != "" && (err == nil || pubsub.Refusal(err).Code != c.want) {
			t.Errorf("Allow(%q, %q) = %v, want %q", c.scope, c.topic, err, c.want)
		}
	}
}

func TestStats(t *testing.T) {
	issuer := newIssuer(t, 1)
	verifier := issuer.verifier(t, auth.Config{})
	token := issuer.token(t, goodHeader, goodPayload)
	verifier.Cached(token)            // not cached yet
	_, _ = verifier.Verify(token)     // verified
	_, _ = verifier.Verify(token)     // hit
	verifier.Cached(token)            // hit
	_, _ = verifier.Verify("")        // refused
	_, _ = verifier.Verify(token[1:]) // refused
	if got, want := verifier.Stats(), (auth.Stats{Verified: 1, Refused: 2, Hits: 2}); got != want {
		t.Errorf("Stats = %+v, want %+v", got, want)
	}
}

func TestConcurrentUse(t *testing.T) {
	issuer := newIssuer(t, 1)
	verifier := issuer.verifier(t, auth.Config{CacheSize: 3})
	var tokens []auth.Token
	for i := range 6 {
		tokens = append(tokens, issuer.token(t, goodHeader, fmt.Sprintf(`{"exp":1767326645,"sub":"%d","scope":"subscribe","topic":"a"}`, i)))
	}
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for n := range 50 {
				i := (g + n) % len(tokens)
				claims, err := verifier.Verify(tokens[i])
				if err != nil || claims.Subject != fmt.Sprint(i) {
					t.Errorf("Verify(%d) = %v, %v, want its own claims", i, claims, err)
				}
				verifier.Cached(tokens[(i+1)%len(tokens)])
			}
		})
	}
	all.Wait()
}
