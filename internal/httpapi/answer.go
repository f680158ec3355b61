package httpapi

import (
	"net/http"
	"strconv"
)

// Header values that all answers share.
var (
	jsonType = []string{"application/json"}
	noStore  = []string{"no-store"}
)

// setJSON sets the headers of a JSON answer that must not be cached.
func setJSON(h http.Header) {
	h["Content-Type"] = jsonType
	h["Cache-Control"] = noStore
}

// writeAnswer answers with body, which is JSON, and limits the client's time to read it. If
// it returns an error, w may still use body, because HTTP/2 writes in the background.
func (a *API) writeAnswer(w http.ResponseWriter, status int, body []byte) error {
	setJSON(w.Header())
	return a.write(w, status, body)
}

// write is like [API.writeAnswer], but the caller sets the headers.
func (a *API) write(w http.ResponseWriter, status int, body []byte) error {
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	r := reader{control: http.NewResponseController(w), draining: a.config.Draining}
	r.start()
	defer r.end()
	w.WriteHeader(status)
	_, err := w.Write(body)
	return err
}
