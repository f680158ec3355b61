package api

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/auth"
)

const (
	// maxDepth is how deep the JSON of a body may be nested, its own object included.
	maxDepth = 64

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
	body    bytes.Buffer
	all     []byte // of body; valid while decoding
	json    jsontext.Decoder
	scratch []byte
}

// size returns how much memory d keeps, in bytes.
func (d *decoder) size() int { return d.body.Cap() + cap(d.scratch) }

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

// decode parses what was read: one JSON object (RFC 8259, and strictly: RFC
// 7493), nothing behind it. Names are compared byte by byte. Members that mean
// nothing are ignored; those that will mean something in a later version are
// refused, so that nobody believes they were heeded.
func (d *decoder) decode(l limits) (b broadcast, err error) {
	d.all = d.body.Bytes()
	d.json.Reset(&d.body)
	if err := d.begin(); err != nil {
		return broadcast{}, err
	}
	for d.json.PeekKind() != jsontext.KindEndObject {
		if err := d.member(&b, l); err != nil {
			return broadcast{}, err
		}
	}
	if err := d.end(); err != nil {
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

func (d *decoder) begin() error {
	token, err := d.json.ReadToken()
	switch {
	case err == io.EOF:
		return notiflux.Errorf(notiflux.Malformed, "the body is empty: "+wanted)
	case err != nil:
		return d.notJSON(err)
	case token.Kind() == jsontext.KindBeginArray:
		return notiflux.Errorf(notiflux.Malformed, "the body is an array: this version takes one object per request")
	case token.Kind() != jsontext.KindBeginObject:
		return notiflux.Errorf(notiflux.Malformed, "the body is not an object: "+wanted)
	}
	return nil
}

const wanted = "it should be one JSON object with `topic` and `message`"

func (d *decoder) end() error {
	if _, err := d.json.ReadToken(); err != nil {
		return d.notJSON(err)
	}
	if _, err := d.json.ReadToken(); err != io.EOF {
		return notiflux.Errorf(notiflux.Malformed, "something follows the JSON object, from byte %d on", d.json.InputOffset())
	}
	return nil
}

// member reads one member, name and value, into b.
func (d *decoder) member(b *broadcast, l limits) error {
	name, err := d.text("a member's name")
	if err != nil {
		return err
	}
	switch string(name) {
	case "topic":
		if name, err = d.text("`topic`"); err != nil {
			return err
		}
		b.topic, err = notiflux.ParseTopic(string(name))
	case "token":
		if name, err = d.text("`token`"); err != nil {
			return err
		}
		b.token = auth.Token(name)
	case "message":
		b.body, err = d.message(l)
	case "topics", "key", "exclude":
		err = notiflux.Errorf(notiflux.Malformed, "`%s` is not supported by this version", name)
	default:
		_, err = d.value()
	}
	return err
}

// message reads the value that is published.
func (d *decoder) message(l limits) (notiflux.Body, error) {
	value, err := d.value()
	if err != nil {
		return notiflux.Body{}, err
	}
	isString := value.Kind() == jsontext.KindString
	var data []byte
	if isString {
		data, err = d.unquote(value)
	} else {
		d.scratch, err = jsontext.AppendFormat(d.scratch[:0], value)
		data = d.scratch
	}
	switch {
	case err != nil:
		return notiflux.Body{}, d.notJSON(err)
	case len(data) > l.messageBytes:
		return notiflux.Body{}, notiflux.Errorf(notiflux.TooLarge, "the message has %d bytes, the most is %d", len(data), l.messageBytes)
	}
	// A copy just as long as it is: that is what the log counts.
	return notiflux.Body{Data: append(make([]byte, 0, len(data)), data...), JSON: !isString}, nil
}

// text reads a value that must be a string, and returns it without quotes
// and escapes, valid until the next read. What names it in an error.
func (d *decoder) text(what string) ([]byte, error) {
	value, err := d.value()
	if err != nil {
		return nil, err
	}
	if value.Kind() != jsontext.KindString {
		return nil, notiflux.Errorf(notiflux.Malformed, "%s must be a string", what)
	}
	text, err := d.unquote(value)
	if err != nil {
		return nil, d.notJSON(err)
	}
	return text, nil
}

// unquote returns the string that quoted, a valid one, stands for: a part of it
// or of scratch.
func (d *decoder) unquote(quoted jsontext.Value) (_ []byte, err error) {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1], nil
	}
	d.scratch, err = jsontext.AppendUnquote(d.scratch[:0], quoted)
	return d.scratch, err
}

// value reads the next value as it stands in the body, valid until the next
// read. Its depth is looked at first: parsing would take memory for each level.
func (d *decoder) value() (jsontext.Value, error) {
	switch d.json.PeekKind() {
	case jsontext.KindBeginObject, jsontext.KindBeginArray:
		if 1+depth(d.all[d.json.InputOffset():]) > maxDepth {
			return nil, notiflux.Errorf(notiflux.Malformed, "the JSON is nested deeper than %d levels", maxDepth)
		}
	}
	value, err := d.json.ReadValue()
	if err != nil {
		return nil, d.notJSON(err)
	}
	return value, nil
}

// depth returns how deep the object or array is nested that begins text. What
// is not JSON gets some number, and is refused by who parses it.
func depth(text []byte) (deepest int) {
	open := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '{', '[':
			open++
			deepest = max(deepest, open)
		case '}', ']':
			if open--; open <= 0 {
				return deepest
			}
		case '"':
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		}
	}
	return deepest
}

// notJSON says where the body stops being JSON. The parser's own words quote
// the body, which may hold a token.
func (d *decoder) notJSON(err error) error {
	at := d.json.InputOffset()
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		at = e.ByteOffset
	}
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return notiflux.Errorf(notiflux.Malformed, "the body ends before its JSON does")
	case errors.Is(err, jsontext.ErrDuplicateName):
		return notiflux.Errorf(notiflux.Malformed, "a member stands twice in an object, at byte %d", at)
	}
	return notiflux.Errorf(notiflux.Malformed, "the body is not JSON in UTF-8, from byte %d on", at)
}
