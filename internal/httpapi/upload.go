package httpapi

import (
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

const (
	// defaultBodiesBytes limits the memory of all request bodies in progress, unless the
	// limit of one body is so large that only a few would fit.
	defaultBodiesBytes = 64 << 20

	// bodiesPerLimit is the minimum number of bodies of maximum size that fit, with their
	// decoded form. Half of the memory is open to all requests; the other half is for
	// publishers with a token.
	bodiesPerLimit = 6

	// firstBytes is how much of a body is read before it counts, so that requests that send
	// no body do not block others.
	firstBytes = 1 << 10

	// smallBytes is the size of a small request. The last quarter of the open half is for
	// small requests, so that large requests that do not finish are refused first.
	smallBytes = 16 << 10

	// shareOfFree limits the share of one publisher (one subject) in the publishers' half
	// to this multiple of what is still free. So one publisher gets at most three quarters,
	// and another one always finds room.
	shareOfFree = 3
)

// bodies limits the memory of broadcast requests in progress: their bodies, which count as
// they arrive, and the decoded form. It is safe for concurrent use.
type bodies struct {
	half int64 // immutable
	open atomic.Int64

	mu sync.Mutex
	// Guarded by mu.
	publishers int64
	subjects   map[string]int64 // the part of publishers that each holds
}

// takeOpen takes n bytes of the open half for a request that already holds has bytes. It
// reports whether there was room.
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

// An upload is a broadcast request whose body is arriving or being processed, with the
// memory that it has reserved.
type upload struct {
	first   [firstBytes]byte // the beginning of the body, before it has a decoder
	api     *API
	request *http.Request
	decoder *decoder // nil before and after it has one

	open, reserved int64        // bytes reserved in each half
	verified       bool         // publisher is set
	publisher      *auth.Claims // claims of the header's token; nil if no token in the header allows broadcasting
}

func (a *API) newUpload(r *http.Request) *upload {
	u := a.uploads.Get().(*upload)
	u.api, u.request = a, r
	return u
}

// take reserves memory for n more bytes, or returns an error if there is no room.
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

// takeDecoder gives the request a decoder, and reserves the memory that the decoder keeps.
func (u *upload) takeDecoder() *decoder {
	d := u.api.decoders.Get().(*decoder)
	if size := d.size(); size > 0 && u.take(size) != nil {
		u.api.decoders.Put(d)
		d = newDecoder()
	}
	u.decoder = d
	return d
}

// release returns the decoder and all reserved memory.
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

// end releases everything and puts u into the pool. The caller must not use u afterwards.
func (u *upload) end() {
	u.release()
	a := u.api
	u.api, u.request, u.verified, u.publisher = nil, nil, false, nil
	a.uploads.Put(u)
}

var errBodies = pubsub.Errorf(pubsub.OverCapacity, "the memory for request bodies is full: try again later, or send the Authorization header with a token that has the scope broadcast; some memory is reserved for such requests")

// publisherOf returns the claims of a request's header token, or nil if the header has no
// valid token that allows broadcasting.
func (a *API) publisherOf(r *http.Request) *auth.Claims {
	token, err := bearer(r.Header)
	if err != nil || token == "" {
		return nil
	}
	claims, err := a.config.Verifier.Verify(token, r.RemoteAddr)
	if err != nil || !claims.Has(auth.Broadcast) {
		return nil
	}
	return claims
}
