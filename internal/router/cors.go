package router

import (
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

const (
	// corsHeaders are the request headers that a page may always set, in addition to the
	// safelisted ones.
	corsHeaders = "Authorization, Content-Type, Idempotency-Key, Last-Event-ID"

	// corsExposed are the response headers that a page may read, in addition to the
	// safelisted ones.
	corsExposed = "RateLimit, RateLimit-Policy, Retry-After, WWW-Authenticate"

	// corsMaxAge is how long a browser may cache the answer to a preflight, in seconds: two
	// hours, Chromium's maximum.
	corsMaxAge = "7200"
)

// admitOrigin returns an error if the page that sent the request may not use the server.
// Otherwise it sets the headers in h that let the page read the answer (Fetch standard,
// section 3.3). A request without an Origin header does not come from a page.
func (rt *Router) admitOrigin(h, request http.Header) error {
	if !rt.origins.Any() {
		h.Add("Vary", "Origin")
	}
	origins := request["Origin"]
	if len(origins) == 0 {
		return nil
	}
	if rt.origins.IsNone() {
		return WithDetail(pubsub.Errorf(pubsub.OriginDenied, "this is for programs, not for web pages"), "origin", origins[0])
	}
	if i := slices.IndexFunc(origins, func(o string) bool { return !rt.origins.Allows(o) }); i >= 0 {
		return WithDetail(pubsub.Errorf(pubsub.OriginDenied, "this server does not accept requests from pages of this origin: the server's setting --allowed-origins must list the origin"), "origin", origins[i])
	}
	if rt.origins.Any() {
		h.Set("Access-Control-Allow-Origin", "*")
	} else {
		h.Set("Access-Control-Allow-Origin", origins[0])
		if rt.origins.Names(origins[0]) { // its pages may send the cookie with the token
			h.Set("Access-Control-Allow-Credentials", "true")
		}
	}
	h.Set("Access-Control-Expose-Headers", corsExposed)
	return nil
}

// answerOptions answers OPTIONS with Allow. If the request is a preflight, the answer also
// lists the methods and headers that the page may send.
func (p *path) answerOptions(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	if r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != "" {
		h.Set("Access-Control-Allow-Methods", p.allow)
		h.Set("Access-Control-Allow-Headers", allowedHeaders(r.Header["Access-Control-Request-Headers"]))
		h.Set("Access-Control-Max-Age", corsMaxAge)
	}
	w.WriteHeader(http.StatusNoContent)
}

// allowedHeaders returns corsHeaders and the other headers that a page requests. They are
// harmless, because only the token decides what a request may do. Scripts for tracing or
// caching add headers to every request (traceparent, baggage, sentry-trace, Cache-Control).
func allowedHeaders(requested []string) string {
	allowed := strings.Split(corsHeaders, ", ")
	for _, line := range requested {
		for name := range strings.SplitSeq(line, ",") {
			name = strings.Trim(name, " \t")
			known := slices.ContainsFunc(allowed, func(other string) bool { return strings.EqualFold(name, other) })
			if !known && headerName.MatchString(name) && len(allowed) < maxCORSHeaders {
				allowed = append(allowed, name)
			}
		}
	}
	return strings.Join(allowed, ", ")
}

// maxCORSHeaders limits the size of an answer to a preflight and the cost of comparing
// names.
const maxCORSHeaders = 100

// headerName matches a valid header name (RFC 9110, section 5.6.2).
var headerName = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
