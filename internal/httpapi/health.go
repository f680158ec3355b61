package httpapi

import (
	"errors"
	"net/http"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// Health answers GET /health and /livez with 200 while the process runs.
func (a *API) Health(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	return nil
}

// Ready answers GET /readyz: 200 if the server can take work now, or the reason why not.
func (a *API) Ready(w http.ResponseWriter, r *http.Request) error {
	if err := a.config.Ready(); err != nil {
		return err
	}
	if err := a.config.KeysReady(); err != nil {
		return err
	}
	if err := a.config.Broker.Health(); err != nil {
		why := &pubsub.Error{Code: pubsub.Unavailable, Detail: "the broker is currently unavailable", Err: err}
		if e, ok := errors.AsType[*pubsub.Error](err); ok {
			why.Detail += ": " + e.Detail
		}
		return why
	}
	return a.Health(w, r)
}
