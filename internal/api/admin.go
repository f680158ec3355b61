package api

import (
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"slices"
	"strings"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// NewAdmin returns the routes of the admin listener: /metrics, and the
// profiles of the process under /debug/pprof/. They ask for no token: wrap
// them in [AdminGuard], and listen on an address that only operators reach.
func NewAdmin(metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

// AdminGuard keeps web pages from using an operator's browser to reach next.
// Anything refused is 403.
//
// The Host must be an IP address, localhost, or in hosts (without port; "*"
// takes any): a page that points its own name at this address (DNS rebinding)
// sends that name. A request that changes something must not come from another
// site, which [http.CrossOriginProtection] tells.
func AdminGuard(hosts []string, next http.Handler) http.Handler {
	var crossOrigin http.CrossOriginProtection
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !isAdminHost(r.Host, hosts):
			wire.WriteProblem(w, notiflux.Errorf(notiflux.OriginDenied, "use an IP address or localhost, or have this host name allowed"))
		case crossOrigin.Check(r) != nil:
			wire.WriteProblem(w, notiflux.Errorf(notiflux.OriginDenied, "this comes from a page of another site"))
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
		return name == "*" || strings.EqualFold(name, host)
	})
}
