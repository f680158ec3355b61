package httpapi

import "net/http"

// Health answers GET /health and /livez: the process lives.
func (a *API) Health(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	return nil
}

// Ready answers GET /readyz: whether the server can take work now.
func (a *API) Ready(w http.ResponseWriter, r *http.Request) error {
	if err := a.ready(); err != nil {
		return err
	}
	return a.Health(w, r)
}
