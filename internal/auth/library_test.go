package auth_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// libraryAlgorithms are the algorithms that a program would accept with our keys.
var libraryAlgorithms = []string{"ES256", "EdDSA", "RS256", "PS256"}

// fuzzKeys returns the public keys of FuzzAgainstLibrary by kid.
func fuzzKeys(t testing.TB) map[string]crypto.PublicKey {
	return map[string]crypto.PublicKey{
		"ec": newIssuer(t, 1).key.Public(), "ec2": newIssuer(t, 2).key.Public(),
		"ed": ed25519Key(1).Public(), "rsa": rsaKey().Public(),
	}
}

// fuzzSigners are ways to sign the input of a token.
var fuzzSigners = []func(t testing.TB, input string) []byte{
	func(t testing.TB, input string) []byte { return newIssuer(t, 1).sign(t, input) },
	func(t testing.TB, input string) []byte { return newIssuer(t, 2).sign(t, input) },
	func(_ testing.TB, input string) []byte { return ed25519.Sign(ed25519Key(1), []byte(input)) },
	func(t testing.TB, input string) []byte { return newIssuer(t, 3).sign(t, input) }, // a key that the server does not have
	func(t testing.TB, input string) []byte { // the public key as secret
		mac := hmac.New(sha256.New, publicPEM(t, newIssuer(t, 1).key.Public()))
		mac.Write([]byte(input))
		return mac.Sum(nil)
	},
	func(_ testing.TB, input string) []byte {
		hash := sha256.Sum256([]byte(input))
		return must(rsa.SignPKCS1v15(nil, rsaKey(), crypto.SHA256, hash[:]))
	},
	func(_ testing.TB, input string) []byte {
		hash := sha256.Sum256([]byte(input))
		return must(rsa.SignPSS(rand.Reader, rsaKey(), crypto.SHA256, hash[:], saltLikeHash))
	},
	func(_ testing.TB, input string) []byte {
		hash := sha256.Sum256([]byte(input))
		return must(rsa.SignPSS(rand.Reader, rsaKey(), crypto.SHA256, hash[:], nil)) // the longest salt
	},
}

// A fuzzInput describes a token: signed with this header and payload, and then with some bytes
// replaced by insert.
type fuzzInput struct {
	signer          uint8
	header, payload string
	at              uint16
	remove          uint8
	insert          string
}

func (f fuzzInput) token(t testing.TB) string {
	input := b64(f.header) + "." + b64(f.payload)
	token := string(join(input, fuzzSigners[int(f.signer)%len(fuzzSigners)](t, input)))
	from := min(int(f.at), len(token))
	return token[:from] + f.insert + token[min(from+int(f.remove), len(token)):]
}

// fuzzSeeds returns the table of tokens, and tokens of each signer with each algorithm.
func fuzzSeeds() (seeds []fuzzInput) {
	add := func(header, payload string) { seeds = append(seeds, fuzzInput{header: header, payload: payload}) }
	for _, header := range badHeaders {
		add(header, goodPayload)
	}
	for _, payloads := range badPayloads {
		for _, payload := range payloads {
			add(goodHeader, payload)
		}
	}
	for _, parts := range goodTokens {
		add(parts.header, parts.payload)
	}
	for _, audience := range []string{`"rooms"`, `["x","rooms"]`, `["rooms",1]`, `"x"`, `[]`, `""`, `null`, `1`, `{"rooms":1}`, `["rooms","rooms"]`, `[["rooms"]]`, `"rooms "`} {
		for _, issuer := range []string{`"https://id/"`, `"https:\/\/id\/"`, `"https://id"`, `["https://id/"]`, `null`, `""`} {
			add(goodHeader, with(exp+`,"iss":`+issuer+`,"aud":`+audience))
		}
		add(goodHeader, with(exp+`,"aud":`+audience))
	}
	add(goodHeader, with(exp+`,"iss":"https://id/"`))
	for signer := range fuzzSigners {
		for _, alg := range append(slices.Clone(libraryAlgorithms), "Ed25519", "HS256", "none") {
			for _, kid := range []string{``, `,"kid":"ec"`, `,"kid":"rsa"`, `,"kid":"?"`} {
				seeds = append(seeds, fuzzInput{signer: uint8(signer), header: `{"alg":"` + alg + `"` + kid + `}`, payload: goodPayload})
			}
		}
	}
	for _, insert := range []string{"\n", ".", "=", "A", "", " "} {
		for _, at := range []uint16{0, 1, 30, math.MaxUint16} {
			seeds = append(seeds, fuzzInput{header: goodHeader, payload: goodPayload, at: at, remove: 1, insert: insert})
			seeds = append(seeds, fuzzInput{header: goodHeader, payload: goodPayload, at: at, insert: insert})
		}
	}
	return seeds
}

// The issuer and the audience of the verifier that demands them.
const (
	fuzzIssuer   = "https://id/"
	fuzzAudience = "rooms"
)

// fuzzVerifier returns a verifier that demands neither, with the keys that it also returns.
func fuzzVerifier(t testing.TB) (*auth.Verifier, map[string]crypto.PublicKey) {
	t.Helper()
	public := fuzzKeys(t)
	return auth.New(auth.Config{Keys: fuzzJWKs(t, public), Now: at(now)}), public
}

func fuzzJWKs(t testing.TB, public map[string]crypto.PublicKey) *auth.Keys {
	t.Helper()
	var jwks []string
	for kid, key := range public {
		jwks = append(jwks, `{"kid":"`+kid+`",`+jwkOf(t, key)[1:])
	}
	return must(auth.ParseKeys([]byte(`{"keys":[` + strings.Join(jwks, ",") + `]}`)))
}

// FuzzAgainstLibrary compares the verdicts of Verify with those of golang-jwt, as an ordinary
// program uses it. Each difference needs a reason of the lists stricter and laxer. A token for
// which a reason of stricter holds is refused whatever the library says. What both accept, they
// read in the same way. All this holds for a verifier that demands an issuer and an audience, too.
func FuzzAgainstLibrary(f *testing.F) {
	verifier, public := fuzzVerifier(f)
	bound := auth.New(auth.Config{Keys: fuzzJWKs(f, public), Issuer: fuzzIssuer, Audience: fuzzAudience, Now: at(now)})
	for _, s := range fuzzSeeds() {
		f.Add(s.signer, s.header, s.payload, s.at, s.remove, s.insert)
	}
	f.Fuzz(func(t *testing.T, signer uint8, header, payload string, at uint16, remove uint8, insert string) {
		token := fuzzInput{signer, header, payload, at, remove, insert}.token(t)
		compareWithLibrary(t, verifier, public, token)
		compareWithLibrary(t, bound, public, token, jwt.WithIssuer(fuzzIssuer), jwt.WithAudience(fuzzAudience))
	})
}

// Each reason explains a difference that no other explains, so the lists have no reason that
// could hide a mistake.
func TestReasonsAreNeeded(t *testing.T) {
	verifier, public := fuzzVerifier(t)
	needed := make(map[string]bool)
	for _, s := range fuzzSeeds() {
		token := s.token(t)
		_, err := verifier.Verify(auth.Token(token))
		_, libraryErr := libraryVerdict(token, public)
		reasons := stricterReasons
		if err == nil {
			reasons = laxerReasons
		}
		if names := holding(reasons, newAttempt(token, public)); (err == nil) != (libraryErr == nil) && len(names) == 1 {
			needed[names[0]] = true
		}
	}
	for _, r := range slices.Concat(stricterReasons, laxerReasons) {
		if !needed[r.name] {
			t.Errorf("no seed needs the reason: %s", r.name)
		}
	}
}

func compareWithLibrary(t *testing.T, verifier *auth.Verifier, public map[string]crypto.PublicKey, token string, options ...jwt.ParserOption) {
	t.Helper()
	claims, err := verifier.Verify(auth.Token(token))
	read, libraryErr := libraryVerdict(token, public, options...)
	a := newAttempt(token, public)
	stricter, laxer := holding(stricterReasons, a), holding(laxerReasons, a)
	switch {
	case err == nil && len(stricter) > 0:
		t.Errorf("%q: accepted, in spite of: %s", token, strings.Join(stricter, ", "))
	case err == nil && libraryErr == nil:
		compareClaims(t, a, claims, read)
	case err == nil && len(laxer) == 0:
		t.Errorf("%q: accepted, but golang-jwt refuses it for no reason of the list: %v", token, libraryErr)
	case err != nil && libraryErr == nil && len(stricter) == 0:
		t.Errorf("%q: refused for no reason of the list, but golang-jwt accepts it: %v", token, err)
	case err != nil && libraryErr == nil && pubsub.Refusal(err).Code != pubsub.TokenInvalid:
		t.Errorf("%q: %v, want %s", token, err, pubsub.TokenInvalid)
	}
}

// libraryVerdict verifies a token like an ordinary program: it pins the algorithms, requires
// exp, checks iat, permits the leeway, and tries all keys of a kind without looking at kid.
func libraryVerdict(token string, public map[string]crypto.PublicKey, options ...jwt.ParserOption) (jwt.MapClaims, error) {
	claims := jwt.MapClaims{}
	options = append(options, jwt.WithValidMethods(libraryAlgorithms), jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(), jwt.WithLeeway(auth.Leeway), jwt.WithTimeFunc(at(now)))
	_, err := jwt.NewParser(options...).ParseWithClaims(token, claims, func(t *jwt.Token) (any, error) {
		var set jwt.VerificationKeySet
		for _, key := range public {
			set.Keys = append(set.Keys, key)
		}
		return set, nil
	})
	return claims, err
}

// compareClaims compares what both read in an accepted token.
func compareClaims(t *testing.T, a attempt, claims *auth.Claims, read jwt.MapClaims) {
	t.Helper()
	if subject, err := read.GetSubject(); err != nil || subject != claims.Subject {
		t.Errorf("%q: subject %q, want %q, %v", a.token, claims.Subject, subject, err)
	}
	if expires, err := read.GetExpirationTime(); err != nil || !expires.Time.Equal(claims.Expires().Truncate(time.Second)) {
		t.Errorf("%q: expires %v, want %v, %v", a.token, claims.Expires(), expires, err)
	}
	if id, ok := read["jti"].(string); (ok || read["jti"] == nil) && id != claims.ID() {
		t.Errorf("%q: ID %q, want %q", a.token, claims.ID(), id)
	}
	if issued, err := read.GetIssuedAt(); issued != nil && issued.Unix() > 0 && (err != nil || !issued.Time.Equal(claims.IssuedAt().Truncate(time.Second))) {
		t.Errorf("%q: issued %v, want %v, %v", a.token, claims.IssuedAt(), issued, err)
	}
	until, ok := read["until"].(float64)
	if ok != !claims.Until().IsZero() || ok && claims.Until().Unix() != int64(until) {
		t.Errorf("%q: until %v, want %v", a.token, claims.Until(), read["until"])
	}
	want, _ := readRights(a.claims)
	for _, topic := range want.probes() {
		for scope, allowed := range map[auth.Scope]rightsRead{auth.Subscribe: want.subscribe, auth.Broadcast: want.broadcast} {
			if err := claims.Allow(scope, pubsub.Topic(topic)); (err == nil) != allowed.allow(topic) {
				t.Errorf("%q: Allow(%s, %q) = %v, want it allowed: %t", a.token, scope, topic, err, err != nil)
			}
		}
	}
}

// An attempt is a token as a lax program reads it. What it cannot read is nil.
type attempt struct {
	token          string
	parts          [3]string
	data           [2][]byte // the header and the claims
	header, claims map[string]any
	alg            string
	signers        []string // the kids of the keys that verify it
}

func newAttempt(token string, public map[string]crypto.PublicKey) (a attempt) {
	a.token = token
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return a
	}
	copy(a.parts[:], parts)
	for i := range a.data {
		a.data[i], _ = base64.RawURLEncoding.DecodeString(parts[i])
	}
	a.header, a.claims = readObject(a.data[0]), readObject(a.data[1])
	a.alg, _ = a.header["alg"].(string)
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	method := jwt.GetSigningMethod(a.alg)
	if a.alg == "Ed25519" {
		method = jwt.SigningMethodEdDSA
	}
	if method != nil && err == nil {
		for kid, key := range public {
			if method.Verify(parts[0]+"."+parts[1], signature, key) == nil {
				a.signers = append(a.signers, kid)
			}
		}
	}
	return a
}

// readObject reads JSON in the way of encoding/json, except that numbers keep their text.
func readObject(data []byte) (object map[string]any) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if decoder.Decode(&object) != nil {
		return nil
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil
	}
	return object
}

// A reason explains why the verdicts differ.
type reason struct {
	name  string
	holds func(attempt) bool
}

func holding(reasons []reason, a attempt) (names []string) {
	for _, r := range reasons {
		if r.holds(a) {
			names = append(names, r.name)
		}
	}
	return names
}

// laxerReasons are why Verify accepts tokens that golang-jwt refuses.
var laxerReasons = []reason{
	{"a number is beyond the range of float64", func(a attempt) bool { return hasHugeNumber(a.header) || hasHugeNumber(a.claims) }},
	{"null in nbf or iat means absent", func(a attempt) bool {
		return isNull(a.claims, "nbf") || isNull(a.claims, "iat")
	}},
	{"golang-jwt does not know the newer name of EdDSA", func(a attempt) bool { return a.alg == "Ed25519" }},
	{"golang-jwt cuts the fraction of exp", func(a attempt) bool {
		exp, ok := seconds(a.claims, "exp")
		return ok && exp > now-60 && math.Trunc(exp) <= now-60
	}},
}

// stricterReasons are why Verify refuses tokens that golang-jwt accepts.
var stricterReasons = []reason{
	{"longer than 8 KiB", func(a attempt) bool { return len(a.token) > 8<<10 }},
	{"not the only form in base64url", func(a attempt) bool {
		return slices.ContainsFunc(a.parts[:], func(part string) bool {
			data, err := base64.RawURLEncoding.Strict().DecodeString(part)
			return err != nil || base64.RawURLEncoding.EncodeToString(data) != part
		})
	}},
	{"not UTF-8", inJSON(func(data []byte) bool { return !bytes.Equal(data, bytes.ToValidUTF8(data, nil)) })},
	{"half a surrogate pair", inJSON(hasLoneSurrogate)},
	{"a member twice", inJSON(func(data []byte) bool { twice, _ := structure(data); return twice })},
	{"nested too deeply", inJSON(func(data []byte) bool { _, depth := structure(data); return depth > 64 })},
	{"a name that differs in case", func(a attempt) bool {
		return hasOtherCase(a.header, "alg", "typ", "kid", "crit", "b64", "jwk", "jku", "x5u", "x5c") ||
			hasOtherCase(a.claims, "exp", "nbf", "iat", "iss", "aud", "sub", "jti", "scope", "topic", "topics", "patterns", "subscribe", "broadcast", "info", "until")
	}},
	{"a header that changes the verification", func(a attempt) bool {
		return slices.ContainsFunc([]string{"crit", "b64", "jwk", "jku", "x5u", "x5c"}, func(name string) bool { _, ok := a.header[name]; return ok })
	}},
	{"kid does not name the key", func(a attempt) bool {
		kid, ok := a.header["kid"]
		text, _ := kid.(string)
		return ok && !slices.Contains(a.signers, text)
	}},
	{"typ of something else", func(a attempt) bool {
		typ, ok := a.header["typ"]
		text, _ := typ.(string)
		kind := strings.TrimPrefix(strings.ToLower(text), "application/")
		return ok && kind != "jwt" && kind != "at+jwt"
	}},
	{"a salt that is not as long as the hash", func(a attempt) bool {
		hash := sha256.Sum256([]byte(a.parts[0] + "." + a.parts[1]))
		signature, _ := base64.RawURLEncoding.DecodeString(a.parts[2])
		return a.alg == "PS256" && rsa.VerifyPSS(&rsaKey().PublicKey, crypto.SHA256, hash[:], signature, saltLikeHash) != nil
	}},
	{"a time before 1970, after 9999, or not a number", func(a attempt) bool {
		return slices.ContainsFunc([]string{"exp", "nbf", "iat", "until"}, func(name string) bool {
			value, ok := a.claims[name]
			if !ok || value == nil {
				return false
			}
			n, ok := seconds(a.claims, name)
			return !ok || n < 0 || n > 253402300799
		})
	}},
	{"golang-jwt cuts the fraction of nbf and iat", func(a attempt) bool {
		nbf, _ := seconds(a.claims, "nbf")
		iat, _ := seconds(a.claims, "iat") // Verify reads it in microseconds
		return nbf > now+60 && math.Trunc(nbf) <= now+60 || iat >= now+60+1e-6 && math.Trunc(iat) <= now+60
	}},
	{"no sub of up to 255 bytes", func(a attempt) bool {
		subject, ok := a.claims["sub"].(string)
		return a.claims != nil && (!ok || len(subject) > 255)
	}},
	{"no valid rights", func(a attempt) bool { _, ok := readRights(a.claims); return a.claims != nil && !ok }},
}

func inJSON(holds func([]byte) bool) func(attempt) bool {
	return func(a attempt) bool {
		return a.header != nil && a.claims != nil && slices.ContainsFunc(a.data[:], holds)
	}
}

func isNull(object map[string]any, name string) bool {
	value, ok := object[name]
	return ok && value == nil
}

func seconds(object map[string]any, name string) (float64, bool) {
	number, ok := object[name].(json.Number)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseFloat(string(number), 64)
	return n, err == nil
}

func hasHugeNumber(value any) bool {
	switch value := value.(type) {
	case json.Number:
		_, err := strconv.ParseFloat(string(value), 64)
		return err != nil
	case []any:
		return slices.ContainsFunc(value, hasHugeNumber)
	case map[string]any:
		for _, value := range value {
			if hasHugeNumber(value) {
				return true
			}
		}
	}
	return false
}

// hasOtherCase reports whether two names differ only in case, or one from a known name.
func hasOtherCase(object map[string]any, known ...string) bool {
	names := slices.Clone(known)
	for name := range object {
		for _, other := range names {
			if name != other && strings.EqualFold(strings.ToLower(name), strings.ToLower(other)) {
				return true
			}
		}
		names = append(names, name)
	}
	return false
}

// hasLoneSurrogate reports whether valid JSON has an escape of half a surrogate pair.
func hasLoneSurrogate(data []byte) bool {
	unit := func(i int) uint64 { // of the escape at i
		if i+6 > len(data) || data[i] != '\\' || data[i+1] != 'u' {
			return 0
		}
		n, _ := strconv.ParseUint(string(data[i+2:i+6]), 16, 16)
		return n
	}
	for i := 0; i < len(data); i++ {
		if data[i] != '\\' {
			continue
		}
		switch n := unit(i); {
		case n >= 0xdc00 && n < 0xe000:
			return true
		case n >= 0xd800 && n < 0xdc00:
			if next := unit(i + 6); next < 0xdc00 || next >= 0xe000 {
				return true
			}
			i += 11
		default:
			i++ // the escaped character
		}
	}
	return false
}

// structure reports whether an object in valid JSON has a name twice, and how deep it is.
func structure(data []byte) (twice bool, depth int) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var open []map[string]bool // the names of each object; nil for arrays
	isName := false
	for {
		token, err := decoder.Token()
		if err != nil {
			return twice, depth
		}
		switch token {
		case json.Delim('{'):
			open, isName = append(open, map[string]bool{}), true
		case json.Delim('['):
			open, isName = append(open, nil), false
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
			isName = len(open) > 0 && open[len(open)-1] != nil
		default:
			names := open[len(open)-1]
			if name, ok := token.(string); ok && isName {
				twice = twice || names[name]
				names[name] = true
				isName = false
			} else {
				isName = names != nil
			}
		}
		depth = max(depth, len(open))
	}
}

// rightsRead are the topics and patterns that claims allow.
type rightsRead struct{ topics, patterns []string }

func (r rightsRead) allow(topic string) bool {
	return slices.Contains(r.topics, topic) || slices.ContainsFunc(r.patterns, func(p string) bool {
		return strings.HasPrefix(topic, strings.TrimSuffix(p, "*"))
	})
}

// claimsRead are the rights of a token with each scope.
type claimsRead struct{ subscribe, broadcast rightsRead }

// probes returns topics to ask for: all that the rights name, and some that they do not.
func (c claimsRead) probes() []string {
	probes := []string{"", "*", "a", "zz"}
	for _, r := range []rightsRead{c.subscribe, c.broadcast} {
		for _, name := range slices.Concat(r.topics, r.patterns) {
			probes = append(probes, name, name+"x", strings.TrimSuffix(name, "*"), strings.TrimSuffix(name, "*")+"x", name[:len(name)-1])
		}
	}
	return probes
}

// readRights reads the rights in claims as docs/protocol.md describes them. It reports false if
// they are invalid.
func readRights(claims map[string]any) (read claimsRead, ok bool) {
	ok = true
	texts := func(value any) (list []string) {
		elements, isList := value.([]any)
		ok = ok && (isList || value == nil)
		for _, element := range elements {
			text, isText := element.(string)
			ok = ok && isText
			list = append(list, text)
		}
		return list
	}
	patterns := 0
	lists := func(object map[string]any) (r rightsRead) {
		r.topics, r.patterns = texts(object["topics"]), texts(object["patterns"])
		for _, pattern := range r.patterns {
			prefix, isPattern := strings.CutSuffix(pattern, "*")
			_, err := pubsub.ParseTopic(prefix)
			ok = ok && isPattern && (prefix == "" || err == nil)
		}
		patterns += len(r.patterns)
		return r
	}
	every := lists(claims)
	if topic, isText := claims["topic"].(string); isText {
		every.topics = append(every.topics, topic)
	} else if claims["topic"] != nil {
		ok = false
	}
	var words []string
	scope, hasScope := claims["scope"]
	if text, isText := scope.(string); isText {
		words = strings.Split(text, " ")
	} else if words = texts(scope); hasScope && scope == nil {
		ok = false
	}
	single := func(name string) (r rightsRead) {
		object, isObject := claims[name].(map[string]any)
		ok = ok && (isObject || claims[name] == nil)
		for name := range object {
			ok = ok && (name == "topics" || name == "patterns")
		}
		return lists(object)
	}
	read.subscribe, read.broadcast = single("subscribe"), single("broadcast")
	topics := 0
	for _, r := range []rightsRead{every, read.subscribe, read.broadcast} {
		different := make(map[string]bool)
		for _, topic := range r.topics {
			_, err := pubsub.ParseTopic(topic)
			ok = ok && err == nil
			different[topic] = true
		}
		topics += len(different)
	}
	ok = ok && topics <= 1000 && patterns <= 100 && topics+patterns > 0
	for name, r := range map[string]*rightsRead{"subscribe": &read.subscribe, "broadcast": &read.broadcast} {
		if slices.Contains(words, name) {
			r.topics, r.patterns = append(r.topics, every.topics...), append(r.patterns, every.patterns...)
		}
	}
	if !slices.Contains(words, "subscribe") && !slices.Contains(words, "broadcast") && len(every.topics)+len(every.patterns) > 0 {
		ok = false
	}
	return read, ok && !slices.Contains(read.subscribe.patterns, "*")
}
