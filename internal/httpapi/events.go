package httpapi

import (
	"net/http"

	"github.com/ikornaselur/notiflux"
)

// events answers GET /events with a stream of server-sent events.
func (s *streams) events(w http.ResponseWriter, r *http.Request) error {
	return s.serve(w, r, "text/event-stream", notiflux.SSE, notiflux.SSEChunk)
}
