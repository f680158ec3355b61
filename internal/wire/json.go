package wire

import (
	"cmp"
	"errors"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/strictjson"
)

const (
	maxID        = 1<<53 - 1 // the largest whole number that every language's JSON keeps exact
	maxMessages  = 1000      // the most that `last` and `limit` get
	defaultLimit = 100       // of messages, for a history without `limit`
)

// An ID is the number that a client gave a command, 0 to 2^53-1, or NoID.
type ID int64

// NoID stands for a command that has no number.
const NoID ID = -1

// IsZero reports whether there is no number. An object with such an ID is encoded without.
func (id ID) IsZero() bool { return id == NoID }

// JSONLimits are the sizes that a command must keep within.
type JSONLimits struct {
	MessageBytes int // of the message of a broadcast
	Topics       int // of one command
}

// A JSONCommand is what a client asks for in the JSON protocol. It shares no
// memory with the text that it was parsed from.
type JSONCommand struct {
	Verb  Verb
	ID    ID
	Token string // of all verbs but Unsubscribe, UnsubscribeAll and Ping; not verified; empty for none

	// Of Subscribe and Unsubscribe: each once, in the order sent.
	Topics  []notiflux.Topic
	Refused []RefusedTopic // what is no topic

	// Of Broadcast, History and Members.
	Topic notiflux.Topic

	Body     notiflux.Body                        // of Broadcast
	Key      string                               // of Broadcast; empty: none
	NoEcho   bool                                 // of Broadcast: the connection itself does not get the message
	Since    map[notiflux.Topic]notiflux.Position // of Subscribe and History: where to go on, for those of Topics or Topic that have such a place
	Last     int                                  // of Subscribe: how many earlier messages are wanted, at most 1,000
	Latest   bool                                 // of Subscribe: messages may be skipped when the client is behind
	Presence bool                                 // of Subscribe: the client is a member of the topics, and is told of others
	Limit    int                                  // of History: how many messages are wanted, at most 1,000
}

// A RefusedTopic is a name in a command that could not be heeded, and why.
type RefusedTopic struct {
	Topic string // as sent: it need not be a valid one
	Err   *notiflux.Error
}

// A JSONParser parses commands, one at a time. It keeps its memory for the next one.
// The zero value is ready.
type JSONParser struct {
	reader strictjson.Reader
}

// Parse parses one text message of the JSON protocol. Names are compared
// byte by byte; members that mean nothing to the command are ignored; those
// that will mean something in a later version are refused, so that nobody
// believes they were heeded. Beside an error stands a command that has nothing
// but the ID, if one could be read.
func (j *JSONParser) Parse(message []byte, most JSONLimits) (JSONCommand, *notiflux.Error) {
	p := commandParser{reader: &j.reader, most: most, command: JSONCommand{ID: NoID}}
	err := p.read(message)
	if idErr := p.id(); err == nil {
		err = idErr
	}
	if err == nil {
		err = p.parse()
	}
	if j.reader.Size() > keepScratchBytes {
		j.reader = strictjson.Reader{}
	}
	if err != nil {
		return JSONCommand{ID: p.command.ID}, notiflux.Refusal(err)
	}
	return p.command, nil
}

// A commandParser reads the whole command first, since its type may come last.
type commandParser struct {
	reader  *strictjson.Reader
	most    JSONLimits
	members members
	command JSONCommand
}

// members are the values of the members that mean something to a command: parts
// of its text, nil where there is none.
type members struct {
	id, kind, token, topics, topic, since, last, limit, mode, message jsontext.Value
	presence, echo, key, exclude                                      jsontext.Value
}

// take takes one member. One that is null is absent, but for `message`, and for
// `topics`: without it, an unsubscribe ends everything.
func (m *members) take(name []byte, value jsontext.Value) {
	place := m.named(name)
	if place == nil || value.Kind() == jsontext.KindNull && place != &m.message && place != &m.topics {
		return
	}
	*place = value
}

// named returns the place of the member with a name, nil if it means nothing.
func (m *members) named(name []byte) *jsontext.Value {
	switch string(name) {
	case "id":
		return &m.id
	case "type":
		return &m.kind
	case "token":
		return &m.token
	case "topics":
		return &m.topics
	case "topic":
		return &m.topic
	case "since":
		return &m.since
	case "last":
		return &m.last
	case "limit":
		return &m.limit
	case "mode":
		return &m.mode
	case "message":
		return &m.message
	case "presence":
		return &m.presence
	case "echo":
		return &m.echo
	case "key":
		return &m.key
	case "exclude":
		return &m.exclude
	}
	return nil
}

func (p *commandParser) read(message []byte) error {
	r := p.reader
	r.Reset(message, "the command", "it should be one JSON object with `type`")
	if err := r.BeginObject(); err != nil {
		return err
	}
	var half error
	for r.MoreMembers() {
		name, value, err := r.Member()
		switch {
		case errors.Is(err, strictjson.ErrLoneSurrogate):
			half = cmp.Or(half, err) // The ID may come behind it.
		case err != nil:
			return err
		default:
			p.members.take(name, value)
		}
	}
	return cmp.Or(r.End(), half)
}

func (p *commandParser) id() error {
	if p.members.id == nil {
		return nil
	}
	id, ok := whole(p.members.id, maxID+1)
	if !ok || id > maxID {
		return notiflux.Errorf(notiflux.Malformed, "`id` must be a whole number from 0 to %d", int64(maxID))
	}
	p.command.ID = ID(id)
	return nil
}

func (p *commandParser) parse() error {
	if p.members.kind == nil {
		return missing("type")
	}
	kind, err := p.reader.Text(p.members.kind, "`type`")
	if err != nil {
		return err
	}
	switch string(kind) {
	case "subscribe":
		return p.subscribe()
	case "unsubscribe":
		return p.unsubscribe()
	case "broadcast":
		return p.broadcast()
	case "auth":
		return p.auth()
	case "history":
		return p.history()
	case "presence":
		return p.presence()
	case "ping":
		p.command.Verb = Ping
		return nil
	}
	return notiflux.Errorf(notiflux.UnknownType, "the type is none of subscribe, unsubscribe, broadcast, auth, history, presence, ping")
}

func (p *commandParser) subscribe() (err error) {
	c := &p.command
	c.Verb = Subscribe
	if p.members.topics == nil || p.members.topics.Kind() == jsontext.KindNull {
		return missing("topics")
	}
	if err := p.topics(); err != nil {
		return err
	}
	if err := p.token(); err != nil {
		return err
	}
	if err := p.sinceOfTopics(); err != nil {
		return err
	}
	if c.Last, err = count(p.members.last, "last", 0); err != nil {
		return err
	}
	if c.Latest, err = p.latest(); err != nil {
		return err
	}
	c.Presence, err = boolean(p.members.presence, "presence", false)
	return err
}

func (p *commandParser) unsubscribe() error {
	if p.members.topics == nil {
		p.command.Verb = UnsubscribeAll
		return nil
	}
	p.command.Verb = Unsubscribe
	return p.topics()
}

func (p *commandParser) broadcast() (err error) {
	c := &p.command
	c.Verb = Broadcast
	if p.members.exclude != nil {
		return notiflux.Errorf(notiflux.Malformed, "`exclude` is for POST /broadcast: here `echo` is false to exclude this connection")
	}
	echo, err := boolean(p.members.echo, "echo", true)
	if err != nil {
		return err
	}
	c.NoEcho = !echo
	if err := p.topic(); err != nil {
		return err
	}
	if err := p.key(); err != nil {
		return err
	}
	if p.members.message == nil {
		return missing("message")
	}
	if c.Body, err = ReadBody(p.reader, p.members.message, p.most.MessageBytes); err != nil {
		return err
	}
	return p.token()
}

// ReadBody returns the value of `message` as what is published, in memory of its own.
// The value is one that r read. If the message has more than maxBytes, the error is
// [notiflux.TooLarge].
func ReadBody(r *strictjson.Reader, value jsontext.Value, maxBytes int) (body notiflux.Body, err error) {
	var data []byte
	if body.JSON = value.Kind() != jsontext.KindString; body.JSON {
		data, err = r.Compact(value)
	} else {
		data, err = r.Text(value, "`message`")
	}
	switch {
	case err != nil:
		return notiflux.Body{}, err
	case len(data) > maxBytes:
		return notiflux.Body{}, notiflux.Errorf(notiflux.TooLarge, "the message has %d bytes, the limit is %d", len(data), maxBytes)
	}
	// The capacity is the length: that is what the log counts.
	body.Data = append(make([]byte, 0, len(data)), data...)
	return body, nil
}

func (p *commandParser) auth() error {
	p.command.Verb = Auth
	if p.members.token == nil {
		return missing("token")
	}
	return p.token()
}

func (p *commandParser) history() (err error) {
	c := &p.command
	c.Verb = History
	if err := p.topic(); err != nil {
		return err
	}
	if p.members.since != nil {
		since, err := p.position(p.members.since)
		if err != nil {
			return err
		}
		c.Since = map[notiflux.Topic]notiflux.Position{c.Topic: since}
	}
	if c.Limit, err = count(p.members.limit, "limit", defaultLimit); err != nil {
		return err
	}
	return p.token()
}

func (p *commandParser) presence() error {
	p.command.Verb = Members
	if err := p.topic(); err != nil {
		return err
	}
	return p.token()
}

func (p *commandParser) token() error {
	if p.members.token == nil {
		return nil
	}
	token, err := p.reader.Text(p.members.token, "`token`")
	p.command.Token = string(token)
	return err
}

func (p *commandParser) key() error {
	if p.members.key == nil {
		return nil
	}
	key, err := p.reader.Text(p.members.key, "`key`")
	if err != nil {
		return err
	}
	p.command.Key = string(key)
	return notiflux.CheckKey(p.command.Key)
}

func (p *commandParser) topic() error {
	if p.members.topic == nil {
		return missing("topic")
	}
	name, err := p.reader.Text(p.members.topic, "`topic`")
	if err != nil {
		return err
	}
	p.command.Topic, err = notiflux.ParseTopic(string(name))
	return err
}

func (p *commandParser) topics() error {
	list := p.members.topics
	if list.Kind() != jsontext.KindBeginArray {
		return notiflux.Errorf(notiflux.Malformed, "`topics` must be an array of strings")
	}
	n := 0
	for value := range strictjson.Elements(list) {
		if n++; n > p.most.Topics {
			return notiflux.Errorf(notiflux.TooMany, "a command may have %d topics: send several commands", p.most.Topics)
		}
		name, err := p.reader.Text(value, "each of `topics`")
		if err != nil {
			return err
		}
		p.addTopic(string(name))
	}
	if n == 0 {
		return notiflux.Errorf(notiflux.Malformed, "`topics` is empty: it should name at least one")
	}
	return nil
}

// addTopic adds a name to the topics or to what was refused, if it is not there.
func (p *commandParser) addTopic(name string) {
	c := &p.command
	topic, err := notiflux.ParseTopic(name)
	switch {
	case err != nil && !slices.ContainsFunc(c.Refused, func(r RefusedTopic) bool { return r.Topic == name }):
		c.Refused = append(c.Refused, RefusedTopic{name, notiflux.Refusal(err)})
	case err == nil && !slices.Contains(c.Topics, topic):
		c.Topics = append(c.Topics, topic)
	}
}

func (p *commandParser) sinceOfTopics() error {
	since := p.members.since
	if since == nil {
		return nil
	}
	if since.Kind() != jsontext.KindBeginObject {
		return notiflux.Errorf(notiflux.Malformed, "`since` must be an object that gives topics their positions")
	}
	wanted := make(map[notiflux.Topic]bool, len(p.command.Topics))
	for _, topic := range p.command.Topics {
		wanted[topic] = true
	}
	for name, value := range strictjson.Members(since) {
		topic := notiflux.Topic(name)
		if !wanted[topic] || value.Kind() == jsontext.KindNull {
			continue
		}
		position, err := p.position(value)
		if err != nil {
			return err
		}
		if p.command.Since == nil {
			p.command.Since = make(map[notiflux.Topic]notiflux.Position)
		}
		p.command.Since[topic] = position
	}
	return nil
}

func (p *commandParser) position(value jsontext.Value) (notiflux.Position, error) {
	text, err := p.reader.Text(value, "a position in `since`")
	if err != nil {
		return notiflux.Position{}, err
	}
	return notiflux.ParsePosition(string(text))
}

func (p *commandParser) latest() (bool, error) {
	if p.members.mode == nil {
		return false, nil
	}
	mode, err := p.reader.Text(p.members.mode, "`mode`")
	if err != nil {
		return false, err
	}
	switch string(mode) {
	case "all":
		return false, nil
	case "latest":
		return true, nil
	}
	return false, notiflux.Errorf(notiflux.Malformed, "`mode` must be all or latest")
}

// count returns a number of messages: unset when value is nil, and never more
// than maxMessages.
func count(value jsontext.Value, name string, unset int) (int, error) {
	if value == nil {
		return unset, nil
	}
	n, ok := whole(value, maxMessages)
	if !ok {
		return 0, notiflux.Errorf(notiflux.Malformed, "`%s` must be a whole number, 0 or more", name)
	}
	return int(n), nil
}

// whole returns the number that value stands for, or most if it is larger, and
// whether it is written as digits and nothing else.
func whole(value jsontext.Value, most int64) (n int64, ok bool) {
	for _, c := range value {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = min(n*10+int64(c-'0'), most)
	}
	return n, true
}

// boolean returns what value says, unset when it is nil.
func boolean(value jsontext.Value, name string, unset bool) (bool, error) {
	switch {
	case value == nil:
		return unset, nil
	case value.Kind() == jsontext.KindTrue || value.Kind() == jsontext.KindFalse:
		return value.Kind() == jsontext.KindTrue, nil
	}
	return false, notiflux.Errorf(notiflux.Malformed, "`%s` must be true or false", name)
}

func missing(name string) error {
	return notiflux.Errorf(notiflux.Malformed, "`%s` is missing", name)
}
