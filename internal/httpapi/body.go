package httpapi

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/router"
	"github.com/ikornaselur/notiflux/internal/strictjson"
	"github.com/ikornaselur/notiflux/internal/wire"
)

const (
	// growBytes is how much memory a body gets more at least, unless it ends before. It
	// doubles as the body arrives.
	growBytes = 2 << 10

	// leastBytes is room for the end of a body to be seen.
	leastBytes = 512

	// maxPooledBytes is how large the buffers of a decoder may be for it to be
	// used again: larger bodies are rare, and would pin memory.
	maxPooledBytes = 128 << 10
)

// limits are the sizes that a broadcast must keep within.
type limits struct {
	messageBytes int
	bodyBytes    int64
}

// maxElements is how many messages a request may publish.
const maxElements = 1000

// A broadcast is what a publisher asks for: what is to be published, in order. It
// is valid until the decoder that it comes from is released.
type broadcast struct {
	publications []pubsub.Publication // what is wrong with one is its error
	names        []name               // of each
	array        bool                 // the body is an array
	one          bool                 // it is a single object with `topic`, which is answered for itself
}

// A name is what an element says of itself besides what is published.
type name struct {
	token auth.Token // empty: none
	topic string     // as it was sent; empty: not told, or not a string
}

// shown returns the topic for the answer: empty if it is longer than any topic, so that
// the answer is not much longer than the body.
func (n *name) shown() string {
	if len(n.topic) > pubsub.MaxTopicBytes {
		return ""
	}
	return n.topic
}

// A decoder reads the body of a request to broadcast, one at a time. It keeps
// its memory for the next one. The zero value is ready.
type decoder struct {
	body      []byte
	json      strictjson.Reader
	broadcast broadcast
	topics    []string // of the element that is read
	fault     error    // of that element, in its shape
	answer    []byte

	published chan struct{} // has an element when the broker has called notify
	notify    func()        // for [Broker]; made once, so that a broadcast allocates nothing for it
}

func newDecoder() *decoder {
	published := make(chan struct{}, 1)
	return &decoder{published: published, notify: func() { published <- struct{}{} }}
}

// size returns how much memory d keeps, in bytes.
func (d *decoder) size() int {
	const perElement = 160
	return cap(d.body) + d.json.Size() + cap(d.answer) + perElement*cap(d.broadcast.publications)
}

// reset lets go of what was decoded, and keeps the memory.
func (d *decoder) reset() {
	clear(d.broadcast.publications)
	clear(d.broadcast.names)
	clear(d.topics)
}

// read reads the whole body, and takes room for it as it arrives, and for what will be
// decoded of it. The router has set the deadline for it, and net/http takes that away
// at the body's end: what follows may take its time.
func (u *upload) read(w http.ResponseWriter) (*decoder, error) {
	r, l := u.request, u.api.limits
	if r.ContentLength > l.bodyBytes {
		w.Header().Set("Connection", "close") // answer at once: net/http would wait for a body of up to 256 KiB
		return nil, bodyTooLarge(l)
	}
	body, size := r.Body, int(r.ContentLength)
	if size < 0 {
		body, size = http.MaxBytesReader(w, body, l.bodyBytes), int(l.bodyBytes)
	}
	n, err := 0, error(nil)
	for n < len(u.first) && err == nil {
		var more int
		more, err = body.Read(u.first[n:])
		n += more
	}
	if err != nil && err != io.EOF {
		return nil, unreadable(err, l)
	}
	d := u.takeDecoder()
	room := cap(d.body)
	if room < n {
		if err := u.take(firstBytes - room); err != nil {
			return nil, err
		}
		d.body, room = make([]byte, 0, firstBytes), firstBytes
	}
	d.body = append(d.body[:0], u.first[:n]...)
	for err == nil {
		if len(d.body) == room {
			more := max(min(max(room, growBytes), size-room), leastBytes)
			if err := u.take(more); err != nil {
				return nil, err
			}
			d.body = slices.Grow(d.body, more)
			room += more
		}
		n, err = body.Read(d.body[len(d.body):room])
		d.body = d.body[:len(d.body)+n]
	}
	if err != io.EOF {
		return nil, unreadable(err, l)
	}
	return d, u.take(len(d.body))
}

func unreadable(err error, l limits) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return bodyTooLarge(l)
	}
	e := pubsub.Errorf(pubsub.Malformed, "the body is shorter than its Content-Length")
	if errors.Is(err, os.ErrDeadlineExceeded) {
		e = pubsub.Errorf(pubsub.Malformed, "the body did not arrive within %v", router.BodyTimeout)
	}
	e.Err = err
	return e
}

func bodyTooLarge(l limits) error {
	return pubsub.Errorf(pubsub.TooLarge, "the body is larger than the limit of %d bytes", l.bodyBytes)
}

// byteOrderMark is what some programs, PowerShell for one, begin UTF-8 with. RFC
// 8259 section 8.1 lets a parser skip it.
const byteOrderMark = "\ufeff"

const wanted = "send a JSON object with `topic` and `message`, or an array of such objects"

// decode parses what was read. Names are compared byte by byte, and members that
// mean nothing are ignored. An error is about the whole request: an element of an
// array that is wrong by itself has its own.
func (d *decoder) decode(l limits) (*broadcast, error) {
	b := &d.broadcast
	*b = broadcast{publications: b.publications[:0], names: b.names[:0]}
	d.json.Reset(bytes.TrimPrefix(d.body, []byte(byteOrderMark)), "the body", wanted)
	if d.json.IsArray() {
		b.array = true
		err := d.elements(l)
		b.one = false
		return b, err
	}
	if err := d.json.BeginObject(); err != nil {
		return b, err
	}
	if err := d.members(l, d.json.End); err != nil {
		return b, err
	}
	return b, d.fault
}

// elements reads the elements of an array.
func (d *decoder) elements(l limits) error {
	if err := d.json.BeginArray(); err != nil {
		return err
	}
	for d.json.MoreElements() {
		if !d.json.IsObject() {
			if err := d.json.Skip(); err != nil {
				return err
			}
			e := pubsub.Errorf(pubsub.Malformed, "the element is not an object: each element must be an object with `topic` and `message`")
			d.add(pubsub.Publication{Err: e}, name{})
		} else if err := d.element(l); err != nil {
			return err
		}
		if len(d.broadcast.publications) > maxElements {
			return pubsub.Errorf(pubsub.TooLarge, "the body has more than %d messages, the limit for one request", maxElements)
		}
	}
	return d.json.End()
}

func (d *decoder) element(l limits) error {
	if err := d.json.BeginObject(); err != nil {
		return err
	}
	return d.members(l, d.json.EndObject)
}

func (d *decoder) add(p pubsub.Publication, n name) {
	d.broadcast.publications = append(d.broadcast.publications, p)
	d.broadcast.names = append(d.broadcast.names, n)
}

// members reads the members of an element up to its end and adds what it asks for.
// It returns an error when the body is not JSON; what is wrong with the element
// alone goes with it.
func (d *decoder) members(l limits, end func() error) error {
	e := element{decoder: d, limits: l}
	d.topics, d.fault = d.topics[:0], nil
	for d.json.MoreMembers() {
		member, value, err := d.json.Member()
		if err != nil && !errors.Is(err, strictjson.ErrLoneSurrogate) {
			return err
		}
		if err == nil {
			err = e.member(member, value)
		}
		if d.fault == nil {
			d.fault = err
		}
	}
	if err := end(); err != nil {
		return err
	}
	e.add()
	return nil
}

// An element is one object of a body while it is read.
type element struct {
	decoder *decoder
	limits  limits

	publication       pubsub.Publication
	name              name
	hasTopic, several bool
}

// member takes one member; an error says what is wrong with its shape. A member that
// is null is absent, but for `message`.
func (e *element) member(member []byte, value jsontext.Value) (err error) {
	if value.Kind() == jsontext.KindNull && string(member) != "message" {
		return nil
	}
	p := &e.publication
	switch string(member) {
	case "topic":
		e.hasTopic = true
		e.name.topic, err = e.text(value, "`topic`")
	case "topics":
		e.several = true
		if err = e.decoder.list(value); err != nil {
			e.decoder.topics = e.decoder.topics[:0] // Some of a list are no list.
		}
	case "token":
		var token string
		token, err = e.text(value, "`token`")
		e.name.token = auth.Token(token)
	case "message":
		p.Body, err = wire.ReadBody(&e.decoder.json, value, e.limits.messageBytes)
	case "key":
		if p.Key, err = e.text(value, "`key`"); err == nil {
			err = pubsub.CheckKey(p.Key)
		}
	case "exclude":
		var connection string
		if connection, err = e.text(value, "`exclude`"); err == nil {
			p.Exclude, err = pubsub.ParseConnection(connection)
		}
	}
	return err
}

// text returns the string that value must be.
func (e *element) text(value jsontext.Value, what string) (string, error) {
	text, err := e.decoder.json.Text(value, what)
	return string(text), err
}

// add adds what the element asks for: a publication for each of its topics, or one
// that says what is wrong with it.
func (e *element) add() {
	d := e.decoder
	d.broadcast.one = !e.several
	if d.fault == nil {
		d.fault = e.incomplete()
	}
	topics := d.topics
	if !e.several || e.hasTopic || len(topics) == 0 {
		topics = []string{e.name.topic}
	}
	for _, e.name.topic = range topics {
		if e.publication.Err = d.fault; d.fault == nil {
			e.publication.Topic, e.publication.Err = pubsub.ParseTopic(e.name.topic)
		}
		d.add(e.publication, e.name)
	}
}

// incomplete returns what is missing, or too much.
func (e *element) incomplete() error {
	switch {
	case e.hasTopic && e.several:
		return pubsub.Errorf(pubsub.Malformed, "both `topic` and `topics` are present: send only one of them")
	case e.several && len(e.decoder.topics) == 0:
		return pubsub.Errorf(pubsub.Malformed, "`topics` is empty: name at least one topic")
	case !e.hasTopic && !e.several:
		return pubsub.Errorf(pubsub.Malformed, "`topic` is missing")
	case e.publication.Body.Data == nil:
		return pubsub.Errorf(pubsub.Malformed, "`message` is missing")
	}
	return nil
}

// list reads `topics`.
func (d *decoder) list(value jsontext.Value) error {
	if value.Kind() != jsontext.KindBeginArray {
		return pubsub.Errorf(pubsub.Malformed, "`topics` must be an array of strings")
	}
	for element := range strictjson.Elements(value) {
		text, err := d.json.Text(element, "each of `topics`")
		if err != nil {
			return err
		}
		d.topics = append(d.topics, string(text))
		if len(d.topics) > maxElements {
			return pubsub.Errorf(pubsub.TooLarge, "there are more than %d topics, the limit for one request", maxElements)
		}
	}
	return nil
}
