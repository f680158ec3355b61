package api

import (
	"net/http"
	"strconv"
	"time"
)

// answerTimeout is how long the reader of an answer may take for each piece of it, or
// for all of it if it is made in one.
const answerTimeout = 30 * time.Second

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
func writeAnswer(w http.ResponseWriter, status int, body []byte) error {
	setJSON(w.Header())
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	c := http.NewResponseController(w)
	// A fake in a test knows no deadlines; a connection does. The next request
	// on it shall not meet this one.
	_ = c.SetWriteDeadline(time.Now().Add(answerTimeout))
	w.WriteHeader(status)
	// Who does not read is no fault: what was published is, what was read can be again.
	_, err := w.Write(body)
	_ = c.Flush()
	_ = c.SetWriteDeadline(time.Time{})
	return err
}
