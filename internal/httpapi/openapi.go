package httpapi

import (
	"net/http"

	"github.com/ikornaselur/notiflux/docs"
	"github.com/ikornaselur/notiflux/internal/router"
)

// documentAge is how long a client may cache the document, in seconds. It changes only with
// the server's version.
const documentAge = "3600"

// openAPI answers GET /openapi.json with the description of the routes. It requires no
// token.
func (a *API) openAPI() router.Handler {
	body := []byte(docs.OpenAPI())
	cache := []string{"public, max-age=" + documentAge}
	return func(w http.ResponseWriter, _ *http.Request) error {
		h := w.Header()
		h["Content-Type"] = jsonType
		h["Cache-Control"] = cache
		_ = a.write(w, http.StatusOK, body) // a client that did not get it asks again
		return nil
	}
}
