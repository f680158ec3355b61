package keyfile_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/keyfile"
)

// What an identity provider may publish beside keys that can be used.
func TestParsePublished(t *testing.T) {
	key := func(kid int) string {
		return fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","kid":"%d","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`, kid)
	}
	keys := func(n int) string {
		var list []string
		for i := range n {
			list = append(list, key(i))
		}
		return strings.Join(list, ",")
	}
	const secret = `{"kty":"oct","k":"c2VjcmV0","kid":"s"}`
	for text, want := range map[string]struct {
		keys, skipped int
		err           string
	}{
		`{"keys":[` + keys(1) + `]}`:                                {1, 0, ""},
		`{"x":1,"keys":[` + keys(16) + `]}`:                         {16, 0, ""},
		`{"keys":[` + keys(16) + `,` + secret + `]}`:                {16, 1, ""},
		`{"keys":[` + keys(1) + `,{"kty":"RSA","use":"enc"},{},5]}`: {1, 3, ""},
		`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","d":"x"},` + key(1) + `]}`: {1, 1, ""},
		`{"keys":[` + keys(17) + `]}`:         {0, 0, "17 usable keys"},
		`{"keys":[` + secret + `]}`:           {0, 1, "no key of the JWK Set can verify tokens; key 1 (kid \"s\"): this is a symmetric JWK"},
		`{"keys":[]}`:                         {0, 0, "the JWK Set has no keys"},
		`{"keys":[` + key(1) + `],"keys":[]}`: {0, 0, "not a JWK Set"},
		`{"keys":{}}`:                         {0, 0, "not a JWK Set"},
		`{"keys":null}`:                       {0, 0, "not a JWK Set"},
		key(1):                                {0, 0, "not a JWK Set"},
		`[]`:                                  {0, 0, "not a JWK Set"},
		`{"keys":[` + key(1):                  {0, 0, "not a JWK Set"},
		``:                                    {0, 0, "not a JWK Set"},
		`<html>`:                              {0, 0, "not a JWK Set"},
		strings.Repeat(`{"keys":[`, 20000):    {0, 0, "not a JWK Set"},
		"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2Vw": {0, 0, "not a JWK Set"},
	} {
		got, skipped, err := keyfile.ParsePublished([]byte(text))
		if len(skipped) != want.skipped || err == nil && len(got) != want.keys || (err == nil) != (want.err == "") || err != nil && !strings.Contains(err.Error(), want.err) {
			t.Errorf("%.60s: %d keys, skipped %v, %v; want %+v", text, len(got), skipped, err, want)
		}
		for _, why := range append(skipped, err) {
			if why != nil && strings.Contains(why.Error(), "c2VjcmV0") {
				t.Errorf("the error shows the secret: %v", why)
			}
		}
	}
}
