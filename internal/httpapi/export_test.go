package httpapi

import (
	"net/http"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/reading"
)

// A DecoderForTest decodes broadcast bodies one after the other, in the same memory.
type DecoderForTest struct{ decoder }

// An ElementForTest is one element of a body.
type ElementForTest struct {
	pubsub.Publication
	Token auth.Token
}

// Decode decodes text, with messages of up to messageBytes.
func (d *DecoderForTest) Decode(text []byte, messageBytes int) ([]ElementForTest, error) {
	d.body = append(d.body[:0], text...)
	b, err := d.decode(limits{messageBytes: messageBytes})
	if err != nil {
		return nil, err
	}
	all := make([]ElementForTest, len(b.publications))
	for i, p := range b.publications {
		all[i] = ElementForTest{p, b.names[i].token}
	}
	return all, nil
}

// Stats are the counters of broadcasts.
type Stats struct{ Accepted, Refused, Failed uint64 }

// Stats returns the counters of broadcasts.
func (a *API) Stats() Stats {
	b := a.Broadcasts()
	return Stats{b.Accepted.Load(), b.Refused.Load(), b.Failed.Load()}
}

// A StreamRequest holds the query of a stream.
type StreamRequest = reading.Request

// ParseStream parses the query of /events or /stream.
func (a *API) ParseStream(r *http.Request) (StreamRequest, error) { return a.parseStream(r) }

// ParsePosted parses the body of POST /events, /stream or /poll.
func (a *API) ParsePosted(w http.ResponseWriter, r *http.Request) (reading.Body, error) {
	return a.parsePosted(w, r)
}

// Authorize returns the claims of the token of a request that reads topics.
func (a *API) Authorize(r *http.Request, topics ...pubsub.Topic) (*auth.Claims, error) {
	return a.authorizeReader(r, "", topics...)
}

// DecoderWaitsForTest reports whether a request that finds no room for the memory of a pooled
// decoder gets one that can wait for the broker.
func (a *API) DecoderWaitsForTest(r *http.Request) bool {
	a.bodies.half = 0
	large := newDecoder()
	large.body = make([]byte, firstBytes)
	a.decoders.Put(large)
	u := a.newUpload(r)
	defer u.end()
	d := u.takeDecoder()
	return d.published != nil && d.notify != nil
}
