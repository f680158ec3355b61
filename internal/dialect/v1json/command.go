package v1json

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/strictjson"
	"github.com/ikornaselur/notiflux/internal/wire"
)

const (
	maxID        = 1<<53 - 1 // the largest integer that JSON in every language represents exactly
	maxMessages  = 1000      // maximum of `last` and `limit`
	defaultLimit = 100       // number of messages in a history without `limit`
)

// A commandID is the number that a client gave a command, 0 to 2^53-1, or noID.
type commandID int64

// noID is the ID of a command without a number.
const noID commandID = -1

// IsZero reports whether id is noID. Answers then have no ID.
func (id commandID) IsZero() bool { return id == noID }

// CommandTypes are the types of commands.
var CommandTypes = []string{"subscribe", "unsubscribe", "broadcast", "auth", "history", "presence", "ping"}

// A verb says what a command requests.
type verb uint8

const (
	verbSubscribe      verb = iota + 1 // to topics, with a token
	verbUnsubscribe                    // from topics
	verbUnsubscribeAll                 // from everything
	verbBroadcast                      // of a message to a topic
	verbAuth                           // of the connection, for commands without a token
	verbHistory                        // of a topic's messages
	verbPresence                       // of a topic's members
	verbPing                           // to get an answer
)

// limits are the size limits of a command.
type limits struct {
	MessageBytes int // of the message of a broadcast
	Topics       int // of one command
}

// A command is a client's request. It shares no memory with the text that it was parsed
// from.
type command struct {
	Verb  verb
	ID    commandID
	Token string // for all verbs except unsubscribe and ping; not verified; empty: none

	// For subscribe and unsubscribe: without duplicates, in the order sent.
	Topics   []pubsub.Topic // or those of the patterns
	Refused  []refusedTopic // names that are not valid topics, or patterns
	Patterns bool           // the command has patterns, and no topics

	// For broadcast, history and presence.
	Topic pubsub.Topic

	Body     pubsub.Body                      // for broadcast
	Key      string                           // for broadcast; empty: none
	NoEcho   bool                             // for broadcast: the sending connection does not get the message
	Since    map[pubsub.Topic]pubsub.Position // for subscribe and history: resume points of the topics that have one
	Last     int                              // for subscribe: how many earlier messages the client wants, up to 1,000
	Latest   bool                             // for subscribe: messages may be skipped when the client is behind
	Presence bool                             // for subscribe: the client is a member of the topics and gets presence events
	Limit    int                              // for history: how many messages the client wants, up to 1,000
}

// A refusedTopic is a topic of a command that is refused.
type refusedTopic struct {
	Topic string // as sent; may be invalid
	Err   *pubsub.Error
}

// A parser parses commands, one at a time. It keeps its memory for the next command. The
// zero value is ready to use.
type parser struct {
	reader strictjson.Reader
}

// parse parses one text message. It compares names byte by byte and ignores members that
// the command does not use. It refuses members that are reserved for a later version, so
// that no client believes that this server honors them. If parse returns an error, the
// command has only the ID, if that could be read.
func (j *parser) parse(message []byte, most limits) (command, *pubsub.Error) {
	p := reading{reader: &j.reader, most: most, command: command{ID: noID}}
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
		return command{ID: p.command.ID}, pubsub.Refusal(err)
	}
	return p.command, nil
}

// A reading is the parsing of one command. It reads the whole command first, because the
// type may come last.
type reading struct {
	reader  *strictjson.Reader
	most    limits
	fields  fields
	command command
}

// fields are the values of the members that commands use. They are parts of the command's
// text, and nil if the member is absent.
type fields struct {
	id, kind, token, topics, topic, since, last, limit, mode, message jsontext.Value
	presence, echo, key, exclude, patterns                            jsontext.Value
}

// take stores one member. A null member counts as absent, except `message` and `topics`:
// without topics, unsubscribe ends all subscriptions.
func (m *fields) take(name []byte, value jsontext.Value) {
	place := m.named(name)
	if place == nil || value.Kind() == jsontext.KindNull && place != &m.message && place != &m.topics {
		return
	}
	*place = value
}

// named returns the field for the member with a name, or nil if commands do not use the
// name.
func (m *fields) named(name []byte) *jsontext.Value {
	switch string(name) {
	case "id":
		return &m.id
	case "type":
		return &m.kind
	case "token":
		return &m.token
	case "topics":
		return &m.topics
	case "patterns":
		return &m.patterns
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

func (p *reading) read(message []byte) error {
	r := p.reader
	r.Reset(message, "the command", "send one JSON object with `type`")
	if err := r.BeginObject(); err != nil {
		return err
	}
	var half error
	for r.MoreMembers() {
		name, value, err := r.Member()
		switch {
		case errors.Is(err, strictjson.ErrLoneSurrogate):
			half = cmp.Or(half, err) // The ID may follow.
		case err != nil:
			return err
		default:
			p.fields.take(name, value)
		}
	}
	return cmp.Or(r.End(), half)
}

func (p *reading) id() error {
	if p.fields.id == nil {
		return nil
	}
	id, ok := strictjson.Whole(p.fields.id, maxID+1)
	if !ok || id > maxID {
		return pubsub.Errorf(pubsub.Malformed, "`id` must be a whole number from 0 to %d", int64(maxID))
	}
	p.command.ID = commandID(id)
	return nil
}

func (p *reading) parse() error {
	if p.fields.kind == nil {
		return missing("type")
	}
	kind, err := p.reader.Text(p.fields.kind, "`type`")
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
		p.command.Verb = verbPing
		return nil
	}
	return pubsub.Errorf(pubsub.UnknownType, "the type must be one of %s", strings.Join(CommandTypes, ", "))
}

func (p *reading) subscribe() (err error) {
	c := &p.command
	c.Verb = verbSubscribe
	if p.fields.patterns == nil && (p.fields.topics == nil || p.fields.topics.Kind() == jsontext.KindNull) {
		return missing("topics")
	}
	if err := p.names(); err != nil {
		return err
	}
	if err := p.token(); err != nil {
		return err
	}
	if err := p.sinceOfTopics(); err != nil {
		return err
	}
	if c.Last, err = wire.ReadNumber(p.fields.last, "last", 0, maxMessages); err != nil {
		return err
	}
	if c.Latest, err = wire.ReadMode(p.reader, p.fields.mode); err != nil {
		return err
	}
	if c.Presence, err = boolean(p.fields.presence, "presence", false); err == nil && c.Patterns && (c.Last > 0 || c.Latest || c.Presence) {
		return pubsub.Errorf(pubsub.Malformed, "`last`, the mode latest and `presence` are only for `topics`: a subscription to patterns has all messages from now on, or after `since`")
	}
	return err
}

func (p *reading) unsubscribe() error {
	if p.fields.topics == nil && p.fields.patterns == nil {
		p.command.Verb = verbUnsubscribeAll
		return nil
	}
	p.command.Verb = verbUnsubscribe
	return p.names()
}

func (p *reading) broadcast() (err error) {
	c := &p.command
	c.Verb = verbBroadcast
	if p.fields.exclude != nil {
		return pubsub.Errorf(pubsub.Malformed, "`exclude` is only for POST /broadcast: to exclude this connection, set `echo` to false")
	}
	echo, err := boolean(p.fields.echo, "echo", true)
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
	if p.fields.message == nil {
		return missing("message")
	}
	if c.Body, err = wire.ReadBody(p.reader, p.fields.message, p.most.MessageBytes); err != nil {
		return err
	}
	return p.token()
}

func (p *reading) auth() error {
	p.command.Verb = verbAuth
	if p.fields.token == nil {
		return missing("token")
	}
	return p.token()
}

func (p *reading) history() (err error) {
	c := &p.command
	c.Verb = verbHistory
	if err := p.topic(); err != nil {
		return err
	}
	if p.fields.since != nil {
		since, err := p.position(p.fields.since)
		if err != nil {
			return err
		}
		c.Since = map[pubsub.Topic]pubsub.Position{c.Topic: since}
	}
	if c.Limit, err = wire.ReadNumber(p.fields.limit, "limit", defaultLimit, maxMessages); err != nil {
		return err
	}
	return p.token()
}

func (p *reading) presence() error {
	p.command.Verb = verbPresence
	if err := p.topic(); err != nil {
		return err
	}
	return p.token()
}

func (p *reading) token() (err error) {
	p.command.Token, err = wire.ReadText(p.reader, p.fields.token, "`token`", "")
	return err
}

func (p *reading) key() error {
	if p.fields.key == nil {
		return nil
	}
	key, err := p.reader.Text(p.fields.key, "`key`")
	if err != nil {
		return err
	}
	p.command.Key = string(key)
	return pubsub.CheckKey(p.command.Key)
}

func (p *reading) topic() error {
	if p.fields.topic == nil {
		return missing("topic")
	}
	name, err := p.reader.Text(p.fields.topic, "`topic`")
	if err != nil {
		return err
	}
	p.command.Topic, err = pubsub.ParseTopic(string(name))
	return err
}

// names reads `topics`, or `patterns`. A command never has both: a server that does not know
// patterns would ignore them.
func (p *reading) names() error {
	list, name, one, each := p.fields.topics, "topics", "topic", "each of `topics`"
	if p.fields.patterns != nil {
		if list != nil && list.Kind() != jsontext.KindNull {
			return pubsub.Errorf(pubsub.Malformed, "the command has both `topics` and `patterns`: send a command for each")
		}
		list, name, one, each = p.fields.patterns, "patterns", "pattern", "each of `patterns`"
		p.command.Patterns = true
	}
	if err := wire.CheckList(list, name, one); err != nil {
		return err
	}
	n := 0
	for value := range strictjson.Elements(list) {
		if n++; n > p.most.Topics {
			return pubsub.Errorf(pubsub.TooMany, "the command has more than %d %s: send several commands", p.most.Topics, name)
		}
		text, err := p.reader.Text(value, each)
		if err != nil {
			return err
		}
		p.addTopic(string(text))
	}
	return nil
}

// addTopic adds a name to the topics or to the refused names, unless it is already there.
func (p *reading) addTopic(name string) {
	c := &p.command
	topic, err := pubsub.ParseTopic(name)
	if c.Patterns {
		var pattern pubsub.Pattern
		pattern, err = pubsub.ParsePattern(name)
		topic = pattern.Topic()
	}
	switch {
	case err != nil && !slices.ContainsFunc(c.Refused, func(r refusedTopic) bool { return r.Topic == name }):
		c.Refused = append(c.Refused, refusedTopic{name, pubsub.Refusal(err)})
	case err == nil && !slices.Contains(c.Topics, topic):
		c.Topics = append(c.Topics, topic)
	}
}

func (p *reading) sinceOfTopics() error {
	since := p.fields.since
	if since == nil {
		return nil
	}
	if since.Kind() != jsontext.KindBeginObject {
		return pubsub.Errorf(pubsub.Malformed, "`since` must be an object with a position for each topic or pattern")
	}
	wanted := make(map[pubsub.Topic]bool, len(p.command.Topics))
	for _, topic := range p.command.Topics {
		wanted[topic] = true
	}
	for name, value := range strictjson.Members(since) {
		topic := pubsub.Topic(name)
		if p.command.Patterns {
			topic = pubsub.Pattern(name).Topic()
		}
		if !wanted[topic] || value.Kind() == jsontext.KindNull {
			continue
		}
		position, err := p.position(value)
		if err != nil {
			return err
		}
		if p.command.Since == nil {
			p.command.Since = make(map[pubsub.Topic]pubsub.Position)
		}
		p.command.Since[topic] = position
	}
	return nil
}

func (p *reading) position(value jsontext.Value) (pubsub.Position, error) {
	text, err := p.reader.Text(value, "a position in `since`")
	if err != nil {
		return pubsub.Position{}, err
	}
	return pubsub.ParsePosition(string(text))
}

// boolean returns a boolean member, or unset if the member is absent.
func boolean(value jsontext.Value, name string, unset bool) (bool, error) {
	switch {
	case value == nil:
		return unset, nil
	case value.Kind() == jsontext.KindTrue || value.Kind() == jsontext.KindFalse:
		return value.Kind() == jsontext.KindTrue, nil
	}
	return false, pubsub.Errorf(pubsub.Malformed, "`%s` must be true or false", name)
}

func missing(name string) error {
	return pubsub.Errorf(pubsub.Malformed, "`%s` is missing", name)
}
