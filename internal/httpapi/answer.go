package httpapi

import (
	"net/http"
	"strconv"
)

// Values of headers that all answers share.
var (
	jsonType = []string{"application/json"}
	noStore  = []string{"no-store"}
)

// setJSON sets the headers of an answer in JSON that nobody may cache.
func setJSON(h http.Header) {
	h["Content-Type"] = jsonType
	h["Cache-Control"] = noStore
}

// writeAnswer answers with body, which is JSON, and limits the time that the client may
// take. If it fails, w may still use body: HTTP/2 writes in the background.
func (a *API) writeAnswer(w http.ResponseWriter, status int, body []byte) error {
	setJSON(w.Header())
	return a.write(w, status, body)
}

// write is [API.writeAnswer] without its headers.
func (a *API) write(w http.ResponseWriter, status int, body []byte) error {
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	r := reader{control: http.NewResponseController(w), draining: a.config.Draining}
	r.start()
	defer r.end()
	w.WriteHeader(status)
	_, err := w.Write(body)
	return err
}
