package api

import (
	"fmt"
	"log/slog"
	"net/http"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/auth"
)

// Values of the headers of an answer, shared by all of them.
var (
	jsonType = []string{"application/json"}
	noStore  = []string{"no-store"}
)

// Broadcast publishes one message, and answers with its topic and position.
func (a *API) Broadcast(w http.ResponseWriter, r *http.Request) error {
	err := a.broadcast(w, r)
	a.count(err)
	return err
}

func (a *API) broadcast(w http.ResponseWriter, r *http.Request) error {
	if err := checkMedia(r.Header); err != nil {
		return err
	}
	d := a.decoders.Get().(*decoder)
	defer a.release(d)
	if err := d.read(w, r, a.limits); err != nil {
		return err
	}
	b, err := d.decode(a.limits)
	if err != nil {
		return err
	}
	if err := a.authorize(b, r.Header); err != nil {
		return err
	}
	position, err := a.publisher.Publish(r.Context(), b.topic, b.body)
	if err != nil {
		return fmt.Errorf("broadcast to %q: %w", b.topic, err)
	}
	if a.log.Enabled(r.Context(), slog.LevelDebug) {
		a.log.Debug("broadcast", "topic", b.topic, "position", position.String())
	}
	h := w.Header()
	h["Content-Type"] = jsonType
	h["Cache-Control"] = noStore
	d.answer = appendAnswer(d.answer[:0], b.topic, position)
	// A publisher that is gone does not read its answer; the message is ordered all the same.
	_, _ = w.Write(d.answer)
	return nil
}

// release gives d back, unless it grew so much that it is better forgotten.
func (a *API) release(d *decoder) {
	if d.size() <= maxPooledBytes {
		a.decoders.Put(d)
	}
}

// authorize says whether the token of the body, else of the header, allows b.
func (a *API) authorize(b broadcast, h http.Header) error {
	token := b.token
	if token == "" {
		var err error
		if token, err = Bearer(h); err != nil {
			return err
		}
	}
	if token == "" {
		return notiflux.Errorf(notiflux.TokenMissing, "a token is needed: in `token`, or in the header Authorization: Bearer <token>")
	}
	claims, err := a.verifier.Verify(token)
	if err != nil {
		return err
	}
	return claims.Allow(auth.Broadcast, b.topic)
}

func appendAnswer(dst []byte, topic notiflux.Topic, position notiflux.Position) []byte {
	// A topic is UTF-8, so quoting it cannot fail.
	dst = append(dst, `{"topic":`...)
	dst, _ = jsontext.AppendQuote(dst, topic)
	dst = append(dst, `,"position":"`...)
	dst = position.AppendTo(dst) // Letters, digits and a colon: nothing to escape.
	return append(dst, "\"}\n"...)
}
