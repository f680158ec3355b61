package httpapi

import (
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"slices"
	"strings"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/router"
	"github.com/ikornaselur/notiflux/internal/wire"
)

const pprofPath = "/debug/pprof/"

// NewAdmin returns the routes of the admin listener: /metrics, and the
// profiles of the process under /debug/pprof/. They ask for no token: wrap
// them in [AdminGuard], and listen on an address that only operators reach.
func NewAdmin(metrics http.Handler) http.Handler {
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

// AdminGuard keeps web pages from using an operator's browser to reach next.
// Anything refused is 403, and logged; a nil log discards.
//
// The Host must be an IP address, localhost, or in hosts (without port; "*"
// takes any): a page that points its own name at this address (DNS rebinding)
// sends that name. A request that changes something, or one for a profile, must
// not come from another site, which [http.CrossOriginProtection] tells. Browsers
// send what it needs for that with each request to https, localhost or a loopback
// address; elsewhere a GET without Origin passes.
func AdminGuard(hosts []string, log *slog.Logger, next http.Handler) http.Handler {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	var crossOrigin http.CrossOriginProtection
	refuse := func(w http.ResponseWriter, r *http.Request, detail string) {
		err := notiflux.Errorf(notiflux.OriginDenied, "%s", detail)
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
