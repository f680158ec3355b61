package httpapi

import (
	"net/http"

	"github.com/ikornaselur/notiflux/internal/listen"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/quota"
	"github.com/ikornaselur/notiflux/internal/router"
)

// BroadcastPath is the path of posts.
const BroadcastPath = "/broadcast"

// Routes returns all routes of the public listener. On a spare connection, only the health
// checks answer.
func (a *API) Routes() []router.Route {
	limited := func(l *quota.Limit, handle router.Handler) router.Handler { return unlessSpare(l.Wrap(handle)) }
	requests, connections := a.config.Requests, a.config.Connections
	routes := []router.Route{
		{Method: "POST", Path: BroadcastPath, Handle: limited(requests, a.Broadcast)},
		{Method: "GET", Path: "/poll", Handle: limited(requests, a.Poll)},
		{Method: "POST", Path: "/poll", Handle: limited(requests, a.Poll)},
		{Method: "GET", Path: "/history", Handle: limited(requests, a.History)},
		{Method: "GET", Path: "/presence", Handle: limited(requests, a.Presence)},
		{Method: "GET", Path: "/ws", Handle: limited(connections, a.webSockets.connect), NoHead: true},
		{Method: "GET", Path: "/health", Handle: a.Health},
		{Method: "GET", Path: "/livez", Handle: a.Health},
		{Method: "GET", Path: "/readyz", Handle: a.Ready},
		{Method: "GET", Path: "/openapi.json", Handle: unlessSpare(a.openAPI())},
	}
	for _, s := range a.streams {
		for _, method := range []string{"GET", "POST"} {
			routes = append(routes, router.Route{Method: method, Path: s.endpoint.Path, Handle: limited(connections, s.connect)})
		}
	}
	return routes
}

// Handler returns the handler of the public listener. During shutdown, and on a spare
// connection, it sets Connection: close in every answer. This also makes net/http close an
// HTTP/2 connection.
func (a *API) Handler() http.Handler {
	routes := router.New(a.config.Origins, a.config.Log, a.Routes()...)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isClosed(a.config.Draining) || listen.IsSpare(r) {
			w.Header().Set("Connection", "close")
		}
		routes.ServeHTTP(w, r)
		if r.ProtoMajor >= 2 {
			// With HTTP/1 the kernel takes a short answer at once. With HTTP/2 the client
			// controls the flow, so it gets the same time as for a long answer.
			left := reader{control: http.NewResponseController(w), draining: a.config.Draining}
			left.start()
			left.end()
		}
	})
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

var errFull = pubsub.Errorf(pubsub.OverCapacity, "connection limit reached: try again later")

// unlessSpare returns a handler that refuses requests on spare connections.
func unlessSpare(handle router.Handler) router.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if listen.IsSpare(r) {
			return errFull
		}
		return handle(w, r)
	}
}
