package auth_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/pem"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// Keys in forms that openssl writes and crypto/x509 does not parse.
const (
	compressedPoint = `-----BEGIN PUBLIC KEY-----
MDkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDIgACp+9tIc1JX+I6kqGkgNpM7t8YHkbj
UbmufkdnAKkgxKo=
-----END PUBLIC KEY-----
`
	explicitParameters = `-----BEGIN PUBLIC KEY-----
MIIBSzCCAQMGByqGSM49AgEwgfcCAQEwLAYHKoZIzj0BAQIhAP////8AAAABAAAA
AAAAAAAAAAAA////////////////MFsEIP////8AAAABAAAAAAAAAAAAAAAA////
///////////8BCBaxjXYqjqT57PrvVV2mIa8ZR0GsMxTsPY7zjw+J9JgSwMVAMSd
NgiG5wSTamZ44ROdJreBn36QBEEEaxfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5
RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9QIhAP////8AAAAA
//////////+85vqtpxeehPO5ysL8YyVRAgEBA0IABKfvbSHNSV/iOpKhpIDaTO7f
GB5G41G5rn5HZwCpIMSqT4/0bG8Xh0iOzSmYeyn7GtEH0pVK7eIGH+qW7hlaStY=
-----END PUBLIC KEY-----
`
	explicitCompressed = `-----BEGIN PUBLIC KEY-----
MIIBCjCB4wYHKoZIzj0CATCB1wIBATAsBgcqhkjOPQEBAiEA/////wAAAAEAAAAA
AAAAAAAAAAD///////////////8wWwQg/////wAAAAEAAAAAAAAAAAAAAAD/////
//////////wEIFrGNdiqOpPns+u9VXaYhrxlHQawzFOw9jvOPD4n0mBLAxUAxJ02
CIbnBJNqZnjhE50mt4GffpAEIQNrF9Hy4SxCR/i85uVjpEDydwN9gS3rM6D0oTlF
2JjClgIhAP////8AAAAA//////////+85vqtpxeehPO5ysL8YyVRAgEBAyIAAqfv
bSHNSV/iOpKhpIDaTO7fGB5G41G5rn5HZwCpIMSq
-----END PUBLIC KEY-----
`
	explicitPrivate = `-----BEGIN EC PRIVATE KEY-----
MIIBaAIBAQQgUo24VD79bAS+i0Db3YAq2qoZllaT+jIg1dmzXvK6cruggfowgfcC
AQEwLAYHKoZIzj0BAQIhAP////8AAAABAAAAAAAAAAAAAAAA////////////////
MFsEIP////8AAAABAAAAAAAAAAAAAAAA///////////////8BCBaxjXYqjqT57Pr
vVV2mIa8ZR0GsMxTsPY7zjw+J9JgSwMVAMSdNgiG5wSTamZ44ROdJreBn36QBEEE
axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54W
K84zV2sxXs7LtkBoN79R9QIhAP////8AAAAA//////////+85vqtpxeehPO5ysL8
YyVRAgEBoUQDQgAEp+9tIc1JX+I6kqGkgNpM7t8YHkbjUbmufkdnAKkgxKpPj/Rs
bxeHSI7NKZh7Kfsa0QfSlUrt4gYf6pbuGVpK1g==
-----END EC PRIVATE KEY-----
`
	explicitPKCS8 = `-----BEGIN PRIVATE KEY-----
MIIBeQIBADCCAQMGByqGSM49AgEwgfcCAQEwLAYHKoZIzj0BAQIhAP////8AAAAB
AAAAAAAAAAAAAAAA////////////////MFsEIP////8AAAABAAAAAAAAAAAAAAAA
///////////////8BCBaxjXYqjqT57PrvVV2mIa8ZR0GsMxTsPY7zjw+J9JgSwMV
AMSdNgiG5wSTamZ44ROdJreBn36QBEEEaxfR8uEsQkf4vOblY6RA8ncDfYEt6zOg
9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9QIhAP////8A
AAAA//////////+85vqtpxeehPO5ysL8YyVRAgEBBG0wawIBAQQgUo24VD79bAS+
i0Db3YAq2qoZllaT+jIg1dmzXvK6cruhRANCAASn720hzUlf4jqSoaSA2kzu3xge
RuNRua5+R2cAqSDEqk+P9GxvF4dIjs0pmHsp+xrRB9KVSu3iBh/qlu4ZWkrW
-----END PRIVATE KEY-----
`
	secp256k1 = `-----BEGIN PUBLIC KEY-----
MFYwEAYHKoZIzj0CAQYFK4EEAAoDQgAE2kcXsE2tNMSfZy9jKZ4l0XXNl1MCgRe0
NrmXkLY1kxg6ZHciTmk9zen1mvk+UjYwwoGE/s8FZnrvecJkpecvnQ==
-----END PUBLIC KEY-----
`
)

// toUTF16 returns text in UTF-16, with a byte order mark if text begins with one.
func toUTF16(text string, bigEndian bool) []byte {
	var out []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		if bigEndian {
			out = append(out, byte(unit>>8), byte(unit))
		} else {
			out = append(out, byte(unit), byte(unit>>8))
		}
	}
	return out
}

// Mistakes are recognized in files and in base64, for public and private keys.
func TestMistakesAreRecognized(t *testing.T) {
	private, publicBytes, err := auth.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	public := string(publicBytes)
	b, _ := pem.Decode(publicBytes)
	const again = "write it again with `openssl ec -pubin -in key.pem -pubout -conv_form uncompressed -param_enc named_curve`"
	for name, c := range map[string]struct {
		data string
		want string
	}{
		"a byte order mark":           {"\ufeff" + public, "this starts with a byte order mark: save it as UTF-8 without one"},
		"a byte order mark and JSON":  {"\ufeff{}", "this starts with a byte order mark"},
		"UTF-16":                      {string(toUTF16("\ufeff"+public, false)), "this is UTF-16: save it as UTF-8"},
		"UTF-16, big end first":       {string(toUTF16("\ufeff"+public, true)), "this is UTF-16"},
		"UTF-16 without a mark":       {string(toUTF16(public, false)), "this is UTF-16"},
		"UTF-16, big, without a mark": {string(toUTF16(public, true)), "this is UTF-16"},
		"DER":                         {string(b.Bytes), "this is DER: use PEM, as `openssl pkey -inform DER` writes it"},
		"literal line breaks":         {strings.ReplaceAll(public, "\n", `\n`), "its line breaks are written as the two characters \\n: put real line breaks there"},
		"literal breaks of Windows":   {strings.ReplaceAll(public, "\n", `\r\n`), "its line breaks are written as the two characters \\n"},
		"quotes":                      {`"` + public + `"`, "it is inside quotes: leave them out"},
		"single quotes":               {"'" + strings.TrimSpace(public) + "'\n", "it is inside quotes: leave them out"},
		"a quoted assignment":         {`KEY="` + public + `"`, "it is inside quotes: leave them out"},
		"quotes and literal breaks":   {`"` + strings.ReplaceAll(public, "\n", `\n`) + `"`, "it is inside quotes: leave them out; its line breaks are written as the two characters \\n"},
		"a quoted JWK":                {`'{"kty":"EC"}'`, "it is inside quotes: leave them out"},
		"indented":                    {"  " + strings.ReplaceAll("x\n"+public, "\n", "\n  "), "its lines are indented: begin each at its first column"},
		"a key of SSH":                {"ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlz me@here\n", "this is an SSH key: use PEM, as `ssh-keygen -e -m PKCS8"},
		"a compressed point":          {compressedPoint, "the key is written with a compressed point: " + again},
		"explicit parameters":         {explicitParameters, "the key has explicit curve parameters instead of a named curve: " + again},
		"both":                        {explicitCompressed, "the key has explicit curve parameters instead of a named curve: " + again},
		"another curve":               {secp256k1, "this is not a point on a supported curve; a P-256 key is made with"},
		"PKCS #1": {string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: []byte{1}})),
			"a public key has type PUBLIC KEY, as `openssl rsa -RSAPublicKey_in -in key.pem -pubout` writes it"},
	} {
		_, err := auth.ParseKeys([]byte(c.data))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: ParseKeys = %v, want %q", name, err, c.want)
		}
		_, err = auth.ParseKeysBase64(base64.StdEncoding.EncodeToString([]byte(c.data)))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: ParseKeysBase64 = %v, want %q", name, err, c.want)
		}
		for _, words := range []string{"asn1:", "x509:", "ecdsa:"} {
			if err != nil && strings.Contains(err.Error(), words) {
				t.Errorf("%s: the text of a library: %v", name, err)
			}
		}
	}
	for name, c := range map[string]struct{ data, want string }{
		"a byte order mark":   {"\ufeff" + string(private), "this starts with a byte order mark"},
		"literal line breaks": {strings.ReplaceAll(string(private), "\n", `\n`), "its line breaks are written as the two characters \\n"},
		"quotes":              {`"` + string(private) + `"`, "it is inside quotes"},
		"explicit parameters": {explicitPrivate, "explicit curve parameters instead of a named curve: if it is a P-256 key, rewrite it with `openssl ec -in key.pem -param_enc named_curve`"},
		"the same in PKCS #8": {explicitPKCS8, "explicit curve parameters"},
		"PKCS #1": {string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: []byte{1}})),
			"has type PRIVATE KEY, as `openssl pkcs8 -topk8 -nocrypt -in key.pem` writes it"},
	} {
		if _, err := auth.ParsePrivateKey([]byte(c.data)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("private, %s: ParsePrivateKey = %v, want %q", name, err, c.want)
		}
	}
}

// Mistakes that occur only with base64 in a variable.
func TestMistakesInBase64(t *testing.T) {
	line := base64.StdEncoding.EncodeToString(publicPEM(t, newIssuer(t, 1).key.Public()))
	for name, c := range map[string]struct{ b64, want string }{
		"quotes":              {`"` + line + `"`, "the value is in quotes: remove them"},
		"single quotes":       {" '" + line + "'\n", "the value is in quotes: remove them"},
		"literal line breaks": {line[:76] + `\n` + line[76:], "written as the two characters \\n: remove them"},
	} {
		if _, err := auth.ParseKeysBase64(c.b64); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: ParseKeysBase64 = %v, want %q", name, err, c.want)
		}
	}
}

// A token without rights gets an error that says what it lacks.
func TestTokensThatAllowNothing(t *testing.T) {
	issuer := newIssuer(t, 1)
	verifier := issuer.verifier(t, auth.Config{})
	for claims, want := range map[string]string{
		``:                                    "the token has no scope: add subscribe, broadcast, or both",
		`,"topic":"a"`:                        "the token has no scope",
		`,"topic":"a","scope":""`:             "the token has no scope",
		`,"patterns":["a*"],"scope":[]`:       "the token has no scope",
		`,"topic":"a","scope":"openid email"`: "scope in the token has neither subscribe nor broadcast: add one of them",
		`,"scope":"openid"`:                   "the token allows no topic: add topic (a string), or topics or patterns (lists of strings)",
		`,"scope":"subscribe","topics":[]`:    "the token allows no topic",
		`,"subscribe":{},"scope":"openid"`:    "the token allows no topic",
	} {
		_, err := verifier.Verify(issuer.token(t, goodHeader, `{"exp":1767326645,"sub":"u"`+claims+`}`))
		if err == nil || !strings.HasPrefix(pubsub.Refusal(err).Detail, want) {
			t.Errorf("%s: Verify = %v, want %q", claims, err, want)
		}
	}
}

// A signer that is not made for JWTs encodes signatures in DER. The error says so.
func TestSignaturesOfAnotherForm(t *testing.T) {
	issuer := newIssuer(t, 1)
	verifier := issuer.verifier(t, auth.Config{})
	input := b64(goodHeader) + "." + b64(goodPayload)
	hash := sha256.Sum256([]byte(input))
	der, err := ecdsa.SignASN1(rand.Reader, issuer.key, hash[:])
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		signature []byte
		want      string
	}{
		"DER":        {der, "the signature of the token is encoded in DER: an ES256 signature is r and s, 32 bytes each, concatenated (RFC 7518 section 3.4)"},
		"too short":  {der[:40], "the signature of the token has 40 bytes; an ES256 signature has 64"},
		"for P-384":  {bytes.Repeat([]byte{1}, 96), "the signature of the token has 96 bytes; an ES256 signature has 64"},
		"one byte":   {[]byte{0x30}, "the signature of the token has 1 bytes; an ES256 signature has 64"},
		"its length": {bytes.Repeat([]byte{1}, 64), "the signature of the token does not match any key of this server: sign the token with the private key of one of the server's keys"},
	} {
		token := join(input, c.signature)
		_, err := verifier.Verify(token)
		wantRefused(t, token, err, pubsub.TokenInvalid)
		if err.Error() != c.want {
			t.Errorf("%s: Verify = %v, want %s", name, err, c.want)
		}
	}
}
