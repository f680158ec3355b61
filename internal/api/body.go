package api

import (
	"bytes"
	"errors"
	"net/http"
	"os"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/wire"
)

const (
	// firstBytes is how much memory an announced length gets before any of the
	// body came.
	firstBytes = 16 << 10

	// maxPooledBytes is how large the buffers of a decoder may be for it to be
	// used again: larger bodies are rare, and would pin memory.
	maxPooledBytes = 128 << 10
)

// limits are the sizes that a broadcast must keep within.
type limits struct {
	messageBytes int
	bodyBytes    int64
}

// A broadcast is what a publisher asks for. It shares no memory with the
// decoder that it comes from.
type broadcast struct {
	topic notiflux.Topic
	body  notiflux.Body
	token auth.Token // empty: none in the body
}

// A decoder reads the body of a request to broadcast, one at a time. It keeps
// its memory for the next one. The zero value is ready.
type decoder struct {
	body   bytes.Buffer
	json   wire.JSONReader
	answer []byte
}

// size returns how much memory d keeps, in bytes.
func (d *decoder) size() int { return d.body.Cap() + d.json.Size() + cap(d.answer) }

// read reads the whole body of r. The router has set the deadline for it, and
// net/http takes that away at the body's end: what follows may take its time.
func (d *decoder) read(w http.ResponseWriter, r *http.Request, l limits) error {
	if r.ContentLength > l.bodyBytes {
		w.Header().Set("Connection", "close") // answer at once: net/http would wait for a body of up to 256 KiB
		return bodyTooLarge(l)
	}
	d.body.Reset()
	d.body.Grow(int(min(max(r.ContentLength, 0), firstBytes)) + bytes.MinRead)
	body := r.Body
	if r.ContentLength < 0 {
		body = http.MaxBytesReader(w, body, l.bodyBytes)
	}
	if _, err := d.body.ReadFrom(body); err != nil {
		return unreadable(err, l)
	}
	return nil
}

func unreadable(err error, l limits) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return bodyTooLarge(l)
	}
	e := notiflux.Errorf(notiflux.Malformed, "the body ends before its announced end")
	if errors.Is(err, os.ErrDeadlineExceeded) {
		e = notiflux.Errorf(notiflux.Malformed, "the body did not arrive within %v", bodyTimeout)
	}
	e.Err = err
	return e
}

func bodyTooLarge(l limits) error {
	return notiflux.Errorf(notiflux.TooLarge, "the body is over %d bytes, the most that is taken", l.bodyBytes)
}

// decode parses what was read. Names are compared byte by byte. Members that
// mean nothing are ignored; those that will mean something in a later version
// are refused, so that nobody believes they were heeded.
func (d *decoder) decode(l limits) (b broadcast, err error) {
	d.json.Reset(d.body.Bytes(), "the body", "it should be one JSON object with `topic` and `message`")
	if d.json.IsArray() {
		return broadcast{}, notiflux.Errorf(notiflux.Malformed, "the body is an array: this version takes one object per request")
	}
	if err := d.json.Begin(); err != nil {
		return broadcast{}, err
	}
	for d.json.More() {
		if err := d.member(&b, l); err != nil {
			return broadcast{}, err
		}
	}
	if err := d.json.End(); err != nil {
		return broadcast{}, err
	}
	switch {
	case b.topic == "":
		return broadcast{}, notiflux.Errorf(notiflux.Malformed, "`topic` is missing")
	case b.body.Data == nil:
		return broadcast{}, notiflux.Errorf(notiflux.Malformed, "`message` is missing")
	}
	return b, nil
}

// member reads one member, name and value, into b.
func (d *decoder) member(b *broadcast, l limits) error {
	name, value, err := d.json.Member()
	if err != nil {
		return err
	}
	var text []byte
	switch string(name) {
	case "topic":
		if text, err = d.json.Text(value, "`topic`"); err != nil {
			return err
		}
		b.topic, err = notiflux.ParseTopic(string(text))
	case "token":
		if text, err = d.json.Text(value, "`token`"); err != nil {
			return err
		}
		b.token = auth.Token(text)
	case "message":
		b.body, err = d.json.Body(value, l.messageBytes)
	case "topics", "key", "exclude":
		err = notiflux.Errorf(notiflux.Malformed, "`%s` is not supported by this version", name)
	}
	return err
}
