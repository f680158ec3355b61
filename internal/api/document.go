package api

import (
	"io"
	"net/http"
	"strconv"
)

// documentAge is for how long a document may be kept, in seconds: it changes with
// the version of the server only.
const documentAge = "3600"

// Document returns a handler that answers with text, which is JSON. It asks for no
// token.
func Document(text string) func(http.ResponseWriter, *http.Request) error {
	length := []string{strconv.Itoa(len(text))}
	cache := []string{"public, max-age=" + documentAge}
	return func(w http.ResponseWriter, _ *http.Request) error {
		h := w.Header()
		h["Content-Type"] = jsonType
		h["Cache-Control"] = cache
		h["Content-Length"] = length
		// Who is gone asks again.
		_, _ = io.WriteString(w, text)
		return nil
	}
}
