// Package admin serves HTTP to operators: the routes of the admin listener.
//
// [New] returns the routes: /metrics, which Prometheus scrapes, and the profiles of the
// process under /debug/pprof/. They do not require a token, so the network must let only
// operators reach the listener's address. It also passes on requests to the admin API, which
// package adminapi answers. A guard stops web pages from reaching it through
// an operator's browser.
//
// Each counter is a field of the type that it describes, and costs one atomic add. [New]
// receives pointers to the counters, and functions that return other values ([Sources]).
// One function names and exports all metrics (metrics.go). The values are read only when
// someone requests /metrics.
//
// Apart from these pointers and functions, the package keeps no state. It starts no
// goroutine.
package admin

import (
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"slices"
	"strings"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/router"
	"github.com/ikornaselur/notiflux/internal/wire"
)

const (
	pprofPath = "/debug/pprof/"
	apiPath   = "/api/"
)

// A Config configures [New].
type Config struct {
	Hosts   []string     // host names of the listener that operators use; "*" allows any
	Log     *slog.Logger // for refusals; nil discards
	Sources Sources
	API     http.Handler // of the paths below /api/; nil: none
}

// New returns the handler of the admin listener, with its guard.
func New(c Config) http.Handler {
	return guard(c.Hosts, c.Log, routes(metrics(c.Sources).Handler(), c.API))
}

func routes(metrics, api http.Handler) http.Handler {
	mux := http.NewServeMux()
	if api != nil {
		mux.Handle(apiPath, api)
	}
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET "+pprofPath, pprof.Index)
	mux.HandleFunc("GET "+pprofPath+"cmdline", pprof.Cmdline)
	mux.HandleFunc("GET "+pprofPath+"profile", pprof.Profile)
	mux.HandleFunc("GET "+pprofPath+"symbol", pprof.Symbol)
	mux.HandleFunc("POST "+pprofPath+"symbol", pprof.Symbol)
	mux.HandleFunc("GET "+pprofPath+"trace", pprof.Trace)
	return mux
}

// guard stops web pages from reaching next through an operator's browser. It logs each
// request that it refuses, and answers it with 403.
//
// The Host header must be an IP address, localhost, or in hosts (without a port; "*" allows
// any host). A page that points its own domain at this address (DNS rebinding) sends that
// domain as the host. A request that changes something, reads a profile or uses the API must not
// come from another site, as [http.CrossOriginProtection] decides. Browsers send the headers for
// that decision with each request to https, localhost or a loopback address. Elsewhere, a
// GET without an Origin header passes.
func guard(hosts []string, log *slog.Logger, next http.Handler) http.Handler {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	var crossOrigin http.CrossOriginProtection
	refuse := func(w http.ResponseWriter, r *http.Request, detail string) {
		err := pubsub.Errorf(pubsub.OriginDenied, "%s", detail)
		router.LogRefusal(log, r, "", router.WithDetail(err, "host", r.Host, "origin", r.Header.Get("Origin")))
		wire.WriteProblem(w, err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		check := *r
		if strings.HasPrefix(r.URL.Path, pprofPath) || strings.HasPrefix(r.URL.Path, apiPath) {
			check.Method = http.MethodPost // A profile is expensive, and the API is private: their GETs count as changes.
		}
		switch {
		case !isAdminHost(r.Host, hosts):
			refuse(w, r, "use an IP address or localhost, or list this host name in --admin-hosts (NOTIFLUX_ADMIN_HOSTS)")
		case crossOrigin.Check(&check) != nil:
			refuse(w, r, "this comes from a page of another site")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func isAdminHost(host string, allowed []string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return true
	}
	return strings.EqualFold(host, "localhost") || slices.ContainsFunc(allowed, func(name string) bool {
		name = strings.TrimSpace(name)
		return name == "*" || name != "" && strings.EqualFold(name, host)
	})
}
