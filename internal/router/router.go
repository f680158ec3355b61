// Package router gives HTTP requests to their routes.
//
// A request passes through [Router.ServeHTTP]: the path and the method choose the
// route, the Origin decides whether a web page may send the request, and the body gets
// a deadline. A route returns its error instead of writing it. The router writes every
// error in one form, application/problem+json, and logs it once for operators
// ([LogRefusal]). Details that only the log gets are added by [WithDetail].
//
// Invariants: a path matches byte by byte as it was sent, and as the rules of a proxy
// saw it. Text that a client chose is logged as [auth.Loggable] returns it: no
// token is ever in the log.
//
// The package knows no particular route and reads no body.
package router

import (
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/ikornaselur/notiflux/internal/origin"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// BodyTimeout is how long the body of a request may take to arrive: 1 MiB at
// 100 KiB/s. It holds on every route, also for a body that nobody reads, which
// net/http would otherwise wait for without end.
const BodyTimeout = 10 * time.Second

// A Route says how to answer one method of one path.
type Route struct {
	Method string
	Path   string // without escapes; equal to the path of a request byte by byte
	Handle Handler
	NoHead bool // do not answer HEAD as GET without a body
}

// A Handler answers a request. If it returns an error, it has written nothing.
type Handler func(http.ResponseWriter, *http.Request) error

// A Router is an [http.Handler] for a fixed set of routes. Make one with New. Safe for
// concurrent use.
type Router struct {
	// Immutable after New.
	origins origin.List
	log     *slog.Logger
	paths   map[string]*path
}

// A path is the routes that share it.
type path struct {
	name    string
	methods map[string]Handler
	allow   string // the methods, as the Allow header lists them
}

// known returns the path, empty if p is nil.
func (p *path) known() string {
	if p == nil {
		return ""
	}
	return p.name
}

// New returns a Router for routes. For all of them, it answers errors as
// problem+json and logs them (a nil log discards), unknown paths with 404, unknown
// methods with 405 and Allow, HEAD, OPTIONS and CORS. A web page whose Origin is not
// in the list gets 403. A panic becomes a 500. Paths are neither cleaned nor
// redirected. Two routes with the same method and path are a bug: New panics.
func New(origins origin.List, log *slog.Logger, routes ...Route) *Router {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	rt := &Router{origins: origins, log: log, paths: make(map[string]*path)}
	for _, route := range routes {
		rt.add(route.Path, route.Method, route.Handle)
		if route.Method == http.MethodGet && !route.NoHead {
			rt.add(route.Path, http.MethodHead, route.Handle)
		}
	}
	for _, p := range rt.paths {
		methods := append(slices.Collect(maps.Keys(p.methods)), http.MethodOptions)
		slices.Sort(methods)
		p.allow = strings.Join(methods, ", ")
	}
	return rt
}

func (rt *Router) add(name, method string, handle Handler) {
	p := rt.paths[name]
	if p == nil {
		p = &path{name: name, methods: make(map[string]Handler)}
		rt.paths[name] = p
	}
	if p.methods[method] != nil {
		panic("router: two routes for " + method + " " + name)
	}
	p.methods[method] = handle
}

// ServeHTTP gives r to its route, or answers it with an error.
func (rt *Router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p := rt.paths[r.URL.EscapedPath()] // As it was sent, and as a proxy's rules saw it.
	defer rt.recover(w, r, p)
	if err := rt.serve(w, r, p); err != nil {
		LogRefusal(rt.log, r, p.known(), err)
		if r.ProtoMajor == 1 && closes(pubsub.Refusal(err).Code) {
			w.Header().Set("Connection", "close")
		}
		wire.WriteProblem(w, err)
	}
}

// closes reports whether an HTTP/1 connection ends after an answer with this code. A
// client that keeps a refused connection open takes a descriptor that the server,
// which has no room or no time left, needs for others.
func closes(code pubsub.Code) bool {
	switch code {
	case pubsub.OverCapacity, pubsub.Draining, pubsub.Unavailable:
		return true
	default:
		return false
	}
}

// serve gives r to its route in p. A nil p is an unknown path.
func (rt *Router) serve(w http.ResponseWriter, r *http.Request, p *path) error {
	if r.ContentLength != 0 {
		// Fakes in tests have no deadlines; connections do.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(BodyTimeout))
	}
	if r.ProtoMajor == 1 && (len(r.TransferEncoding) > 0 || r.ProtoMinor == 0) {
		// net/http drops a Content-Length beside Transfer-Encoding, and either header of
		// HTTP/1.0. A proxy that went by the dropped header sees another end of this
		// request, so bytes behind it must not count as the next one (RFC 9112, section 6.1).
		w.Header().Set("Connection", "close")
	}
	if err := rt.admitOrigin(w.Header(), r.Header); err != nil {
		return err
	}
	if p == nil {
		return rt.notFound(r.URL.EscapedPath())
	}
	if handle := p.methods[r.Method]; handle != nil {
		return handle(w, r)
	}
	w.Header().Set("Allow", p.allow)
	if r.Method == http.MethodOptions {
		p.answerOptions(w, r)
		return nil
	}
	return pubsub.Errorf(pubsub.MethodNotAllowed, "this path accepts only %s", p.allow)
}

// notFound returns the error for an unknown path. If the path is known but for slashes,
// the error names the known one.
func (rt *Router) notFound(requested string) error {
	name := "/" + strings.Trim(requested, "/")
	if rt.paths[name] == nil {
		return pubsub.Errorf(pubsub.NotFound, "there is nothing at this path: GET /openapi.json lists the paths")
	}
	return pubsub.Errorf(pubsub.NotFound, "the path has an extra slash; the right path is %s: check the client's base address and the proxy's rules", name)
}

// recover answers a request whose handler panicked with 500, and logs the panic.
func (rt *Router) recover(w http.ResponseWriter, r *http.Request, p *path) {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler {
		panic(v)
	}
	err := fmt.Errorf("panic: %v", v)
	rt.log.Error("handler panicked", "method", r.Method, "path", loggablePath(r, p.known()), "remote", r.RemoteAddr, "err", err, "stack", string(debug.Stack()))
	wire.WriteProblem(w, err)
}
