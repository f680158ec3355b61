package httpapi

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/router"
)

const (
	tokenCookie    = "notiflux_token"
	tokenParameter = "token"
)

// authorizeReader returns the claims of a request's token if it allows subscribing to all
// topics. Without a token, all topics must be public. The token is that of the body, unless
// it is empty. Otherwise it comes from the Authorization header, from the cookie
// notiflux_token, or from the parameter token unless NoQueryTokens is set, in this order.
// Errors are [pubsub.Error]s. It may block for a signature check, so event loops must not
// call it.
func (a *API) authorizeReader(r *http.Request, token auth.Token, topics ...pubsub.Topic) (*auth.Claims, error) {
	if token == "" {
		var err error
		if token, err = a.token(r); err != nil {
			if anonymous := a.config.Verifier.Anonymous(); anonymous != nil && isMissing(err) && areAllowed(anonymous, topics) {
				return anonymous, nil
			}
			return nil, router.WithDetail(err, "topic", joined(topics))
		}
	}
	claims, err := a.config.Verifier.Verify(token, r.RemoteAddr)
	if err != nil {
		return nil, router.WithDetail(err, "topic", joined(topics))
	}
	if err := claims.CheckUntil(a.config.Now()); err != nil {
		return nil, router.WithDetail(err, "topic", joined(topics), "subject", claims.Subject)
	}
	for _, topic := range topics {
		if err := cmp.Or(a.revoked(claims, topic), claims.Allow(auth.Subscribe, topic)); err != nil {
			return nil, router.WithDetail(err, "topic", topic.Shown(), "subject", claims.Subject)
		}
	}
	return claims, nil
}

// revoked asks Config.Revoked.
func (a *API) revoked(claims *auth.Claims, topic pubsub.Topic) error {
	if a.config.Revoked == nil {
		return nil
	}
	return a.config.Revoked(claims, topic)
}

func areAllowed(claims *auth.Claims, topics []pubsub.Topic) bool {
	return !slices.ContainsFunc(topics, func(t pubsub.Topic) bool { return claims.Allow(auth.Subscribe, t) != nil })
}

// isMissing reports whether an error of token means that the request has no token for this
// server.
func isMissing(err error) bool {
	return pubsub.Refusal(err).Code == pubsub.TokenMissing || errors.Is(err, errForeignScheme) || errors.Is(err, errBearerAlone)
}

// token returns the token of a request outside of its body. It is not empty if err is nil.
func (a *API) token(r *http.Request) (auth.Token, error) {
	token, inHeader := bearer(r.Header)
	foreign := errors.Is(inHeader, errForeignScheme) || errors.Is(inHeader, errBearerAlone)
	if inHeader != nil && !foreign || token != "" {
		return token, inHeader
	}
	token, err := cookie(r)
	trusted := a.trustsCookie(r)
	if trusted && (err != nil || token != "") {
		return token, err
	}
	if inQuery := r.URL.Query().Get(tokenParameter); inQuery != "" && !a.config.NoQueryTokens {
		return auth.Token(inQuery), nil
	}
	switch {
	case foreign:
		return "", inHeader
	case !trusted && token != "":
		return "", pubsub.Errorf(pubsub.TokenMissing, "the page that sent this request may not use the cookie %s: send Authorization: Bearer <token> instead, serve the page from the server's own host, or list the page's origin by name in the server's setting --allowed-origins (* is not enough)", tokenCookie)
	case r.Method == http.MethodPost:
		return "", pubsub.Errorf(pubsub.TokenMissing, "a token is required: send it in `token`, in the header Authorization: Bearer <token>, or in the cookie %s", tokenCookie)
	case a.config.NoQueryTokens:
		return "", pubsub.Errorf(pubsub.TokenMissing, "a token is required: send it in the header Authorization: Bearer <token>, or in the cookie %s", tokenCookie)
	}
	return "", pubsub.Errorf(pubsub.TokenMissing, "a token is required: send it in the header Authorization: Bearer <token>, in the cookie %s, or as ?%s=", tokenCookie, tokenParameter)
}

// errForeignScheme means that the Authorization header is not for this server. Browsers
// send Basic automatically after a page of the same site has asked for a password.
var errForeignScheme = pubsub.Errorf(pubsub.TokenInvalid, "the Authorization header does not use the scheme Bearer, and no other token was sent: send Authorization: Bearer <token>")

// errBearerAlone means that the Authorization header has no token. Some programs send the
// scheme even without a token.
var errBearerAlone = pubsub.Errorf(pubsub.TokenInvalid, "the Authorization header has no token: send Authorization: Bearer <token>")

// bearer returns the token of the Authorization header (RFC 6750, section 2.1), or "" if
// the header is absent or empty. For anything else in the header, or a second header, it
// returns TokenInvalid, so that the request does not count as one without a token. After
// errForeignScheme and errBearerAlone, the caller may look for a token elsewhere.
func bearer(h http.Header) (auth.Token, error) {
	values := h["Authorization"]
	switch len(values) {
	case 0:
		return "", nil
	case 1:
	default:
		return "", pubsub.Errorf(pubsub.TokenInvalid, "there is more than one Authorization header: send one")
	}
	scheme, token, separated := strings.Cut(strings.TrimSpace(values[0]), " ")
	token = strings.TrimLeft(token, " ")
	isBearer := strings.EqualFold(scheme, "Bearer")
	switch {
	case scheme == "":
		return "", nil
	case separated && !isBearer:
		return "", errForeignScheme
	case isBearer && token == "":
		return "", errBearerAlone
	}
	if !separated || strings.ContainsAny(token, " \t,") {
		return "", pubsub.Errorf(pubsub.TokenInvalid, "the Authorization header is malformed: send Authorization: Bearer <token>")
	}
	return auth.Token(token), nil
}

// cookie returns the token of the cookie, or "". A second cookie is TokenInvalid, because
// another host of the same domain may have set it.
func cookie(r *http.Request) (auth.Token, error) {
	cookies := r.CookiesNamed(tokenCookie)
	switch len(cookies) {
	case 0:
		return "", nil
	case 1:
		return auth.Token(cookies[0].Value), nil
	}
	return "", pubsub.Errorf(pubsub.TokenInvalid, "there is more than one cookie %s: send one", tokenCookie)
}

// trustsCookie reports whether to accept the cookie, which browsers send automatically. It
// is accepted if the page that sent the request is on this host, if the operator has listed
// its origin by name, or if the request does not come from a page.
func (a *API) trustsCookie(r *http.Request) bool {
	origins := r.Header["Origin"]
	switch len(origins) {
	case 0:
		// For content embedded in a page, browsers omit Origin but send this header (Fetch
		// Metadata, section 2.3).
		site := r.Header.Get("Sec-Fetch-Site")
		return site != "cross-site" && site != "same-site"
	case 1:
		return isSameHost(origins[0], r.Host) || a.config.Origins.Names(origins[0])
	}
	return false
}

// isSameHost reports whether a page with this origin is on this host. It ignores the
// scheme, which the server does not know behind a proxy that terminates TLS.
func isSameHost(origin, host string) bool {
	scheme, name, ok := strings.Cut(origin, "://")
	return ok && (scheme == "https" || scheme == "http") && name != "" && strings.EqualFold(name, host)
}
