package httpapi

import (
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

const (
	// defaultBodiesBytes is how much memory all bodies under way may hold together,
	// unless the limit of one body is so large that few would fit.
	defaultBodiesBytes = 64 << 20

	// bodiesPerLimit is how many bodies of the largest size fit at least, with their
	// decoded form. Half of the room is open to all requests, the other half is for
	// publishers with a token.
	bodiesPerLimit = 6

	// firstBytes is how much of a body is read before it counts. So requests that send
	// no body keep no other request out.
	firstBytes = 1 << 10

	// smallBytes is the size of a small request. The last quarter of the open half is
	// for small requests: large requests that do not end are refused first.
	smallBytes = 16 << 10

	// shareOfFree limits the share of one publisher, that is of one subject, in the
	// publishers' half: to this many times the room that is still free. So one publisher
	// gets three quarters at most, and there is always room for another.
	shareOfFree = 3
)

// bodies limits the memory of broadcast requests that are under way: of their bodies,
// which count as they arrive, and of their decoded form. Safe for concurrent use.
type bodies struct {
	half int64 // immutable
	open atomic.Int64

	mu sync.Mutex
	// Guarded by mu.
	publishers int64
	subjects   map[string]int64 // what each holds of publishers
}

// takeOpen takes n bytes of the open half for a request that has taken has bytes so far,
// and reports whether there was room.
func (b *bodies) takeOpen(has, n int64) bool {
	limit := b.half
	if has+n > smallBytes {
		limit -= limit / 4
	}
	if b.open.Add(n) > limit {
		b.open.Add(-n)
		return false
	}
	return true
}

// takeOf takes n bytes of the publishers' half, and reports whether there was room.
func (b *bodies) takeOf(subject string, n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	free := b.half - b.publishers - n
	if b.subjects[subject]+n > shareOfFree*free {
		return false
	}
	if b.subjects == nil {
		b.subjects = make(map[string]int64)
	}
	b.publishers += n
	b.subjects[subject] += n
	return true
}

func (b *bodies) release(open int64, subject string, n int64) {
	b.open.Add(-open)
	if n == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.publishers -= n
	if b.subjects[subject] -= n; b.subjects[subject] == 0 {
		delete(b.subjects, subject)
	}
}

// An upload is a broadcast request while its body arrives and is processed, with the
// room for bodies that it holds.
type upload struct {
	first   [firstBytes]byte // the beginning of the body, until it has a decoder
	api     *API
	request *http.Request
	decoder *decoder // nil: it has none yet, or no longer

	open, reserved int64        // bytes of each half
	verified       bool         // publisher is set
	publisher      *auth.Claims // of the header's token; nil: no token in the header allows to broadcast
}

func (a *API) newUpload(r *http.Request) *upload {
	u := a.uploads.Get().(*upload)
	u.api, u.request = a, r
	return u
}

// take reserves memory for n more bytes, or returns an error if there is none.
func (u *upload) take(n int) error {
	b := &u.api.bodies
	if b.takeOpen(u.open+u.reserved, int64(n)) {
		u.open += int64(n)
		return nil
	}
	if !u.verified {
		u.verified, u.publisher = true, u.api.publisherOf(u.request)
	}
	if u.publisher == nil || !b.takeOf(u.publisher.Subject, int64(n)) {
		return errBodies
	}
	u.reserved += int64(n)
	return nil
}

// takeDecoder gives the request a decoder, and takes room for the memory that it keeps.
func (u *upload) takeDecoder() *decoder {
	d := u.api.decoders.Get().(*decoder)
	if size := d.size(); size > 0 && u.take(size) != nil {
		u.api.decoders.Put(d)
		d = new(decoder)
	}
	u.decoder = d
	return d
}

// release gives the decoder and all room back.
func (u *upload) release() {
	if u.decoder != nil {
		u.api.release(u.decoder)
		u.decoder = nil
	}
	subject := ""
	if u.reserved > 0 {
		subject = u.publisher.Subject
	}
	u.api.bodies.release(u.open, subject, u.reserved)
	u.open, u.reserved = 0, 0
}

// end gives the upload back. u must not be used afterwards.
func (u *upload) end() {
	u.release()
	a := u.api
	u.api, u.request, u.verified, u.publisher = nil, nil, false, nil
	a.uploads.Put(u)
}

var errBodies = pubsub.Errorf(pubsub.OverCapacity, "the memory for request bodies is full: try again later; a broadcast token in the Authorization header gives access to more of it")

// publisherOf returns the claims of the token in the header of a request, nil if the
// header has no valid token that allows to broadcast.
func (a *API) publisherOf(r *http.Request) *auth.Claims {
	token, err := bearer(r.Header)
	if err != nil || token == "" {
		return nil
	}
	claims, err := a.config.Verifier.Verify(token)
	if err != nil || !claims.Has(auth.Broadcast) {
		return nil
	}
	return claims
}
