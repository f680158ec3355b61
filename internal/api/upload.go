package api

import (
	"net/http"
	"sync/atomic"

	"github.com/ikornaselur/notiflux"
)

const (
	// defaultBodiesBytes is how much all bodies under way may hold together, unless the
	// limit of one is so large that few would fit.
	defaultBodiesBytes = 64 << 20

	// bodiesPerLimit is how many bodies of the largest size fit at least, counted with
	// what is decoded of them. Half of the room is for requests with a good token.
	bodiesPerLimit = 6

	// requestBytes is what a request costs before anything of its body came.
	requestBytes = 4 << 10
)

// bodies bounds the memory of requests to broadcast that are under way: their bodies,
// charged as they arrive, and what is decoded of them. Safe for concurrent use.
type bodies struct {
	most int64 // immutable
	held atomic.Int64
}

// An upload is the share of one request in the room for bodies.
type upload struct {
	api     *API
	request *http.Request
	held    int64
}

// take takes room for n bytes more, or returns why there is none. The last half of the
// room is for requests with a good token in their header: strangers cannot keep
// publishers out by bodies that they do not finish.
func (u *upload) take(n int) error {
	b := &u.api.bodies
	held := b.held.Add(int64(n))
	if held > b.most || held > b.most/2 && !u.api.knows(u.request) {
		b.held.Add(-int64(n))
		return errBodies
	}
	u.held += int64(n)
	return nil
}

// release gives everything back.
func (u *upload) release() {
	u.api.bodies.held.Add(-u.held)
	u.held = 0
}

var errBodies = notiflux.Errorf(notiflux.OverCapacity, "bodies of other requests take all the room there is for them: try again later; with the token in the header Authorization there may be more")

// knows reports whether the header of a request has a token that holds.
func (a *API) knows(r *http.Request) bool {
	token, err := Bearer(r.Header)
	if err != nil || token == "" {
		return false
	}
	_, err = a.verifier.Verify(token)
	return err == nil
}
