package httpapi

import (
	"net/http"
	"strconv"
)

// Values of the headers of an answer, shared by all of them.
var (
	jsonType = []string{"application/json"}
	noStore  = []string{"no-store"}
)

// setJSON says that an answer is JSON of this moment.
func setJSON(h http.Header) {
	h["Content-Type"] = jsonType
	h["Cache-Control"] = noStore
}

// writeAnswer answers with body, which is JSON, and does not wait for a reader
// without end. If it fails, w may still have body: HTTP/2 writes in the background.
func (a *API) writeAnswer(w http.ResponseWriter, status int, body []byte) error {
	setJSON(w.Header())
	return a.write(w, status, body)
}

// write is [API.writeAnswer] for other headers.
func (a *API) write(w http.ResponseWriter, status int, body []byte) error {
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	r := reader{control: http.NewResponseController(w), draining: a.draining}
	r.start()
	defer r.end()
	w.WriteHeader(status)
	_, err := w.Write(body)
	return err
}

// answeringInTime returns a handler that answers as h does. It gives the client of a
// short answer over HTTP/2 no more time for it than a long answer gets: there the
// client itself decides how much may flow. Over HTTP/1 the kernel takes a short answer.
func answeringInTime(draining <-chan struct{}, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r)
		if r.ProtoMajor >= 2 {
			left := reader{control: http.NewResponseController(w), draining: draining}
			left.start()
			left.end()
		}
	})
}
