// Package router dispatches HTTP requests to their routes.
//
// [Router.ServeHTTP] handles a request in three steps. It sets a deadline for the request's
// body. It checks the Origin header, to decide whether a web page may send the request.
// Then it calls the handler of the route that has the path and the method of the request.
//
// A handler returns an error instead of writing it. The router writes all errors in one
// form, application/problem+json, and logs each one once for operators ([LogRefusal]).
// [WithDetail] adds details to an error that appear only in the log.
//
// Invariants:
//   - A path matches byte by byte in the form in which the client sent it, which is also
//     the form that the rules of a proxy saw.
//   - Text that a client chose passes through [auth.Loggable] before it is logged. A token
//     is never in the log.
//
// The package does not know any particular route, and does not read bodies.
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

// BodyTimeout limits how long the body of a request may take to arrive: 1 MiB at 100 KiB/s.
// It applies to every route, even to a body that no handler reads: net/http would otherwise
// wait for the rest of such a body without a limit.
const BodyTimeout = 10 * time.Second

// A Route says how to answer one method of one path.
type Route struct {
	Method string
	Path   string // without escapes; compared with the path of a request byte by byte
	Handle Handler
	NoHead bool // do not answer HEAD like GET
}

// A Handler answers a request. If it returns an error, it has written no part of an answer.
type Handler func(http.ResponseWriter, *http.Request) error

// A Router is an [http.Handler] for a fixed set of routes. It is safe for concurrent use.
type Router struct {
	// Immutable after New.
	origins origin.List
	log     *slog.Logger
	paths   map[string]*path
}

// A path holds the routes with one path.
type path struct {
	name    string
	methods map[string]Handler
	allow   string // the methods, as the Allow header lists them
}

// known returns the name of the path, or "" if p is nil.
func (p *path) known() string {
	if p == nil {
		return ""
	}
	return p.name
}

// New returns a Router for routes. The router answers unknown paths with 404, unknown
// methods with 405 and Allow, and handles HEAD, OPTIONS and CORS. A request from a web page
// whose origin is not in origins gets 403. If a handler panics, the answer is 500. Paths
// are neither cleaned nor redirected. A nil log discards. New panics if two routes have the
// same method and path.
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

// ServeHTTP passes r to the handler of its route, or answers it with an error.
func (rt *Router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p := rt.paths[r.URL.EscapedPath()] // the form that the client sent and a proxy's rules saw
	defer rt.recover(w, r, p)
	if err := rt.serve(w, r, p); err != nil {
		LogRefusal(rt.log, r, p.known(), err)
		if r.ProtoMajor == 1 && closes(pubsub.Refusal(err).Code) {
			w.Header().Set("Connection", "close")
		}
		wire.WriteProblem(w, err)
	}
}

// closes reports whether the server closes an HTTP/1 connection after an answer with this
// code. The client's connection takes a file descriptor, and a server that is full or
// shutting down needs it for others.
func closes(code pubsub.Code) bool {
	switch code {
	case pubsub.OverCapacity, pubsub.Draining, pubsub.Unavailable:
		return true
	default:
		return false
	}
}

// serve passes r to its handler in p. A nil p means that the path is unknown.
func (rt *Router) serve(w http.ResponseWriter, r *http.Request, p *path) error {
	if r.ContentLength != 0 {
		// Fakes in tests have no deadlines; connections do.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(BodyTimeout))
	}
	if r.ProtoMajor == 1 && (len(r.TransferEncoding) > 0 || r.ProtoMinor == 0) {
		// net/http drops Content-Length if there is a Transfer-Encoding, and
		// Transfer-Encoding in HTTP/1.0. A proxy that used the dropped header sees another
		// end of this request, so bytes after it must not be read as the next one (RFC
		// 9112, section 6.1).
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

// notFound returns the error for an unknown path. If a known path differs from it only in
// slashes, the error names that path.
func (rt *Router) notFound(requested string) error {
	name := "/" + strings.Trim(requested, "/")
	switch {
	case rt.paths[name] == nil && rt.paths["/openapi.json"] != nil:
		return pubsub.Errorf(pubsub.NotFound, "there is nothing at this path: GET /openapi.json lists the paths")
	case rt.paths[name] == nil:
		return pubsub.Errorf(pubsub.NotFound, "there is nothing at this path: the paths are %s", strings.Join(slices.Sorted(maps.Keys(rt.paths)), ", "))
	}
	return pubsub.Errorf(pubsub.NotFound, "the path has an extra slash; the right path is %s: check the client's base address and the proxy's rules", name)
}

// recover answers a request whose handler panicked with 500, and logs the panic. It passes
// on [http.ErrAbortHandler].
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
