package httpapi

import "net/http"

// documentAge is for how long a document may be kept, in seconds: it changes with
// the version of the server only.
const documentAge = "3600"

// Document returns a handler that answers with text, which is JSON. It asks for no
// token.
func (a *API) Document(text string) func(http.ResponseWriter, *http.Request) error {
	body := []byte(text)
	cache := []string{"public, max-age=" + documentAge}
	return func(w http.ResponseWriter, _ *http.Request) error {
		h := w.Header()
		h["Content-Type"] = jsonType
		h["Cache-Control"] = cache
		_ = a.write(w, http.StatusOK, body) // A client that did not get it asks again.
		return nil
	}
}
