package server

import (
	"net/http"

	"github.com/ikornaselur/notiflux/internal/api"
)

// Routes returns the routes of the public listener.
func Routes(s *Server) []api.Route { return s.routes() }

// Drained returns the handler of a server that never ran, as it is while it shuts
// down.
func Drained(s *Server) http.Handler {
	s.gate.Close()
	close(s.draining)
	s.broker.Close()
	return api.NewRouter(s.origins, s.log, s.routes()...)
}
