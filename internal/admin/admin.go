// Package admin is HTTP for operators: the routes of the admin listener.
//
// [New] returns them: /metrics, which Prometheus scrapes, and the profiles of the
// process under /debug/pprof/. They ask for no token, so the listener must have an
// address that only operators reach. A guard keeps web pages from using an operator's
// browser to reach it.
//
// Counters are fields of the types that they describe, and cost one atomic add. The
// server hands over where they are ([Sources]); one function names and exports all of
// them (metrics.go). They are read when somebody scrapes, and cost nothing until then.
//
// The package keeps no state of its own and starts no goroutine.
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

const pprofPath = "/debug/pprof/"

// A Config is what the routes need.
type Config struct {
	Hosts   []string     // host names under which operators reach the listener; "*": any
	Log     *slog.Logger // of refusals; nil discards
	Sources Sources
}

// New returns the routes of the admin listener, with their guard.
func New(c Config) http.Handler {
	return guard(c.Hosts, c.Log, routes(metrics(c.Sources).Handler()))
}

// routes returns the routes without their guard.
func routes(metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET "+pprofPath, pprof.Index)
	mux.HandleFunc("GET "+pprofPath+"cmdline", pprof.Cmdline)
	mux.HandleFunc("GET "+pprofPath+"profile", pprof.Profile)
	mux.HandleFunc("GET "+pprofPath+"symbol", pprof.Symbol)
	mux.HandleFunc("POST "+pprofPath+"symbol", pprof.Symbol)
	mux.HandleFunc("GET "+pprofPath+"trace", pprof.Trace)
	return mux
}

// guard keeps web pages from using an operator's browser to reach next. It answers
// what it refuses with 403, and logs it; a nil log discards.
//
// The Host must be an IP address, localhost, or in hosts (without port; "*" takes
// any): a page that points its own name at this address (DNS rebinding) sends that
// name. A request that changes something, or one for a profile, must not come from
// another site, as [http.CrossOriginProtection] decides. Browsers send the headers for
// that with each request to https, localhost or a loopback address; elsewhere a GET
// without Origin passes.
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
		if strings.HasPrefix(r.URL.Path, pprofPath) {
			check.Method = http.MethodPost // a GET costs enough: a profile takes time and memory
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
