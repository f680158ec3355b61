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
	// growBytes is the minimum by which the memory for a body grows, unless less remains.
	// The memory doubles as the body arrives.
	growBytes = 2 << 10

	// leastBytes is the minimum room for reading the end of a body.
	leastBytes = 512

	// maxPooledBytes is the maximum memory of a decoder that is used again: larger bodies
	// are rare, and would pin memory.
	maxPooledBytes = 128 << 10
)

// limits are the size limits of a broadcast.
type limits struct {
	messageBytes int
	bodyBytes    int64
}

// maxElements is the maximum number of messages in one request.
const maxElements = 1000

// A broadcast is the list of messages that a request asks to publish, in order. It is valid
// until its decoder is released.
type broadcast struct {
	publications []pubsub.Publication // an invalid one has its Err set
	names        []name               // one for each publication
	array        bool                 // the body is an array
	one          bool                 // the body is a single object with `topic`, so the answer is an object too
}

// A name identifies an element to the publisher and to the verifier.
type name struct {
	token auth.Token // may be empty
	topic string     // as it was sent; empty if it is absent or not a string
}

// shown returns the topic for the answer. It is empty if it is longer than any valid topic,
// so that the answer is not much longer than the body.
func (n *name) shown() string {
	if len(n.topic) > pubsub.MaxTopicBytes {
		return ""
	}
	return n.topic
}

// A decoder reads the bodies of broadcast requests, one at a time. It keeps its memory for
// the next one. Make one with newDecoder; the zero value cannot wait for the broker.
type decoder struct {
	body      []byte
	json      strictjson.Reader
	broadcast broadcast
	topics    []string // of the current element
	fault     error    // error in the shape of the current element
	answer    []byte

	published chan struct{} // has an element after the broker has called notify
	notify    func()        // for [Broker]; made once to save an allocation for each broadcast
}

func newDecoder() *decoder {
	published := make(chan struct{}, 1)
	return &decoder{published: published, notify: func() { published <- struct{}{} }}
}

// size returns the approximate number of bytes of memory that d keeps.
func (d *decoder) size() int {
	const perElement = 160
	return cap(d.body) + d.json.Size() + cap(d.answer) + perElement*cap(d.broadcast.publications)
}

// reset drops references to decoded values, but keeps the memory.
func (d *decoder) reset() {
	clear(d.broadcast.publications)
	clear(d.broadcast.names)
	clear(d.topics)
}

// read reads the whole body. It reserves memory as the body arrives, and then for the
// decoded form. The router has set the read deadline; net/http removes it at the end of the
// body.
func (u *upload) read(w http.ResponseWriter) (*decoder, error) {
	r, l := u.request, u.api.limits
	if r.ContentLength > l.bodyBytes {
		w.Header().Set("Connection", "close") // otherwise net/http waits for a body of up to 256 KiB before it sends the answer
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

// byteOrderMark is what some programs, such as PowerShell, write before UTF-8. RFC 8259,
// section 8.1, lets a parser skip it.
const byteOrderMark = "\ufeff"

const wanted = "send a JSON object with `topic` and `message`, or an array of such objects"

// decode parses the body. It compares names byte by byte, and ignores unknown members. An
// error refuses the whole request; an invalid element of an array instead sets its
// publication's Err.
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

// members reads the members of an element up to its end, and adds its publications. It
// returns an error if the body is not JSON. Other errors in the element go into its
// publications.
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

// An element is one object of a body that is being read.
type element struct {
	decoder *decoder
	limits  limits

	publication       pubsub.Publication
	name              name
	hasTopic, several bool
}

// member handles one member, and returns an error if its shape is wrong. Null means absent,
// except for `message`.
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
			e.decoder.topics = e.decoder.topics[:0] // ignore a list of which only a part is valid
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

// text returns value, which must be a string.
func (e *element) text(value jsontext.Value, what string) (string, error) {
	text, err := e.decoder.json.Text(value, what)
	return string(text), err
}

// add adds a publication for each topic of the element, or one with the element's error.
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

// incomplete returns an error if members are missing or contradict each other.
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
