package api

import (
	"net/http"
	"strings"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/auth"
)

// bearer returns the token of the Authorization header (RFC 6750 section 2.1),
// empty when there is no such header. Anything else in it, or a second one, is
// TokenInvalid: it is never taken for a request without a token.
func bearer(h http.Header) (auth.Token, error) {
	values := h["Authorization"]
	switch len(values) {
	case 0:
		return "", nil
	case 1:
	default:
		return "", notiflux.Errorf(notiflux.TokenInvalid, "there is more than one Authorization header")
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	token = strings.TrimLeft(token, " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" || strings.ContainsAny(token, " \t,") {
		return "", notiflux.Errorf(notiflux.TokenInvalid, "the Authorization header should be: Bearer <token>")
	}
	return auth.Token(token), nil
}
