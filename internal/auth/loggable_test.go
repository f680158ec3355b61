package auth_test

import (
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/auth"
)

func TestLoggable(t *testing.T) {
	const jwt = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"
	long := strings.Repeat("é", 200)
	for s, want := range map[string]string{
		"":                      "",
		"news":                  "news",
		"com.example.news":      "com.example.news",
		"a b\n\"é":              "a b\n\"é",
		jwt:                     "REDACTED",
		"/x/" + jwt + "/y":      "/x/REDACTED/y",
		jwt + "," + jwt:         "REDACTED,REDACTED",
		jwt[:40]:                "REDACTED",
		"notiflux.token." + jwt: "notiflux.token.REDACTED",
		"aGVhZGVyLWhlYWRlcg.cGF5bG9hZA." + strings.Repeat("c2ln", 16): "REDACTED",
		long:       long[:256] + "…",
		"a" + long: "a" + long[:254] + "…",
	} {
		if got := auth.Loggable(s); got != want {
			t.Errorf("Loggable(%q) = %q, want %q", s, got, want)
		}
	}
}
