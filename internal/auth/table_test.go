package auth_test

import (
	"fmt"
	"strings"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// The table of headers and claims, bad and good. All tokens made of them are signed correctly.

// badHeaders are refused with TokenInvalid, with goodPayload.
var badHeaders = []string{
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
}

const exp = `"exp":1767326645`

// with returns a payload with members in addition to goodMembers.
func with(members string) string { return `{` + goodMembers + `,` + members + `}` }

// badPayloads are refused with these codes, with goodHeader.
var badPayloads = map[pubsub.Code][]string{
	pubsub.TokenExpired: {
		with(`"exp":1767322984`), with(`"exp":1767322985`), with(`"exp":1767322984.999`), with(`"exp":0`), with(`"exp":1`),
	},
	pubsub.TokenInvalid: {
		`{` + goodMembers + `}`, with(`"exp":null`), with(`"exp":"1767326645"`), with(`"exp":-1`), with(`"exp":1e300`), with(`"exp":1e400`),
		with(`"exp":true`), with(`"exp":[1767326645]`), with(`"exp":{}`), with(`"exp":0x7fffffff`), with(`"exp":+1767326645`), with(`"exp":01767326645`),
		with(`"exp":253402300800`), with(`"exp":NaN`), with(`"exp":Infinity`), with(`"exp":1767326645,"exp":1767326645`),
		with(exp + `,"nbf":1767323106`), with(exp + `,"nbf":"0"`), with(exp + `,"nbf":-1`),
		with(exp + `,"nbf":1767323105.5`), with(exp + `,"iat":1767323105.5`), with(exp + `,"x":"` + strings.Repeat("x", 8000) + `"`),
		with(exp + `,"iat":1767323106`), with(exp + `,"iat":"0"`), with(exp + `,"iat":1e300`),
		with(exp + `,"TOPICS":["b"]`), with(exp + `,"Scope":"broadcast"`), with(exp + `,"topic\u017f":["b"]`), with(exp + `,"\u017fub":"v"`),
		with(exp + `,"Exp":1`), with(exp + `,"x":1,"X":1`), with(exp + `,"ä":1,"Ä":1`), with(exp + `,"topic":"a"`), with(exp + `,"x":1,"x":1`),
		with(exp + `,"info":{"a":1,"a":2}`), with(exp + `,"Until":1`), with(exp + `,"JTI":""`),
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

// goodTokens allow broadcasting to the topic a.
var goodTokens = map[string]struct{ header, payload string }{
	"plain":                {goodHeader, goodPayload},
	"no typ":               {`{"alg":"ES256"}`, goodPayload},
	"typ in small letters": {`{"alg":"ES256","typ":"jwt"}`, goodPayload},
	"typ of access tokens": {`{"alg":"ES256","typ":"at+jwt"}`, goodPayload},
	"typ as media type":    {`{"alg":"ES256","typ":"application/at+JWT"}`, goodPayload},
	"a number past floats": {`{"alg":"ES256","x":1e999}`, strings.TrimSuffix(goodPayload, "}") + `,"x":1e999}`},
	"kid of a key without": {`{"alg":"ES256","kid":"../../etc/passwd"}`, goodPayload},
	"scope as a list":      {goodHeader, `{` + exp + `,"sub":"u","scope":["openid","broadcast"],"topic":"a"}`},
	"null for absent":      {goodHeader, `{` + goodMembers + `,` + exp + `,"nbf":null,"iat":null,"until":null,"info":null,"topics":null}`},
	"null for topic":       {goodHeader, `{` + exp + `,"sub":"u","scope":"broadcast","topic":null,"topics":["a"]}`},
	"unknown header":       {`{"alg":"ES256","cty":"x","x5t":"AA","v":{"a":[1]}}`, goodPayload},
	"64 levels":            {goodHeader, `{` + goodMembers + `,` + exp + `,"x":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}`},
	"white space":          {" { \"alg\" : \"ES256\" }\n", "\t" + goodPayload + "\r\n"},
	"escaped names":        {`{"\u0061lg":"ES256"}`, `{` + goodMembers + `,"\u0065xp":1767326645}`},
	"fraction":             {goodHeader, `{` + goodMembers + `,"exp":1767322985.5}`},
	"exponent":             {goodHeader, `{` + goodMembers + `,"exp":1.767326645e9}`},
	"within the leeway":    {goodHeader, `{` + goodMembers + `,"exp":1767322986,"nbf":1767323105,"iat":1767323105}`},
	"far future":           {goodHeader, `{` + goodMembers + `,"exp":253402300799}`},
	"empty sub":            {goodHeader, `{` + exp + `,"sub":"","scope":"broadcast","topic":"a"}`},
	"longest sub":          {goodHeader, `{` + exp + `,"sub":"` + strings.Repeat("x", 255) + `","scope":"broadcast","topic":"a"}`},
	"other scopes":         {goodHeader, `{` + exp + `,"sub":"u","scope":"openid  broadcast admin","topic":"a"}`},
	"topics only":          {goodHeader, `{` + exp + `,"sub":"u","scope":"broadcast","topics":["a","a","b"]}`},
	"1,000 topics":         {goodHeader, `{` + exp + `,"sub":"u","scope":"broadcast","topics":` + topicList(999) + `,"topic":"a"}`},
	"a pattern":            {goodHeader, `{` + exp + `,"sub":"u","scope":"broadcast","patterns":["b*","a*"]}`},
	"every topic":          {goodHeader, `{` + exp + `,"sub":"u","scope":"broadcast","patterns":["*"]}`},
	"100 patterns":         {goodHeader, `{` + exp + `,"sub":"u","scope":"broadcast","patterns":[` + strings.Repeat(`"b*",`, 99) + `"a*"]}`},
	"broadcast a topic":    {goodHeader, `{` + exp + `,"sub":"u","broadcast":{"topics":["a"],"patterns":null}}`},
	"broadcast a pattern":  {goodHeader, `{` + exp + `,"sub":"u","scope":"subscribe","topic":"b","broadcast":{"patterns":["*"]}}`},
	"nulls for rights":     {goodHeader, `{` + exp + `,"sub":"u","scope":"broadcast","topic":"a","patterns":null,"subscribe":null,"broadcast":null}`},
	"claims for later":     {goodHeader, `{` + goodMembers + `,` + exp + `,"jti":"x","until":1,"info":{"name":"N"},"aud":["x"],"iss":"y"}`},
	"jti is a number":      {goodHeader, `{` + goodMembers + `,` + exp + `,"jti":1}`},
	"jti is a list":        {goodHeader, `{` + goodMembers + `,` + exp + `,"jti":["x"]}`},
	"jti is long":          {goodHeader, `{` + goodMembers + `,` + exp + `,"jti":"` + strings.Repeat("x", 3000) + `"}`},
	"other members":        {goodHeader, `{` + goodMembers + `,` + exp + `,"Ünder":1,"Topicality":2}`},
}

// topicList returns a JSON list of n different topics of two letters.
func topicList(n int) string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("%q", string([]rune{rune('A' + i/40), rune('A' + i%40)}))
	}
	return strings.ReplaceAll(`[`+strings.Join(names, ",")+`]`, `\\`, `-`)
}
