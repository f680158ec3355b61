package router

import (
	"net/http"
	"slices"
	"strings"

	"github.com/ikornaselur/notiflux"
)

const (
	// corsHeaders are the request headers that a page may set besides the
	// harmless ones and those that it asks for.
	corsHeaders = "Authorization, Content-Type, Idempotency-Key, Last-Event-ID"

	// corsExposed are the response headers that a page may read besides the
	// harmless ones.
	corsExposed = "Retry-After, WWW-Authenticate"

	// corsMaxAge is how long a browser need not ask again, in seconds: two
	// hours, the most that Chromium takes.
	corsMaxAge = "7200"
)

// admitOrigin says whether the web page that the request comes from may ask,
// and tells the browser in h that it may read the answer (Fetch standard,
// section 3.3). A request without an Origin comes from no page.
func (rt *Router) admitOrigin(h, request http.Header) error {
	if !rt.origins.Any() {
		h.Add("Vary", "Origin")
	}
	origins := request["Origin"]
	if len(origins) == 0 {
		return nil
	}
	if i := slices.IndexFunc(origins, func(o string) bool { return !rt.origins.Allows(o) }); i >= 0 {
		return WithDetail(notiflux.Errorf(notiflux.OriginDenied, "this server takes no requests from pages of this origin"), "origin", origins[i])
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

// answerOptions answers OPTIONS: with Allow, and a browser that asks before its
// request also with what a page may send.
func (p *path) answerOptions(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	if r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != "" {
		h.Set("Access-Control-Allow-Methods", p.allow)
		h.Set("Access-Control-Allow-Headers", allowedHeaders(r.Header["Access-Control-Request-Headers"]))
		h.Set("Access-Control-Max-Age", corsMaxAge)
	}
	w.WriteHeader(http.StatusNoContent)
}

// allowedHeaders returns corsHeaders and whatever else a page asks for. Authority
// lies in the token, and scripts for tracing or caching add headers of their own
// (traceparent, baggage, sentry-trace, Cache-Control) to each request.
func allowedHeaders(requested []string) string {
	allowed := strings.Split(corsHeaders, ", ")
	for _, line := range requested {
		for name := range strings.SplitSeq(line, ",") {
			name = strings.Trim(name, " \t")
			known := slices.ContainsFunc(allowed, func(other string) bool { return strings.EqualFold(name, other) })
			if !known && isToken(name) && len(allowed) < maxCORSHeaders {
				allowed = append(allowed, name)
			}
		}
	}
	return strings.Join(allowed, ", ")
}

// maxCORSHeaders bounds the answer to a preflight, and what comparing costs.
const maxCORSHeaders = 100

// isToken reports whether s can be the name of a header (RFC 9110 section 5.6.2).
func isToken(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}
