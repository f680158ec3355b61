package httpapi

import (
	"net/http"

	"github.com/ikornaselur/notiflux"
)

// ndjson answers GET /stream with the same stream as /events, as NDJSON.
func (s *streams) ndjson(w http.ResponseWriter, r *http.Request) error {
	return s.serve(w, r, "application/x-ndjson", notiflux.NDJSON, notiflux.NDJSONChunk)
}
