package reading

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/resume"
	"github.com/ikornaselur/notiflux/internal/strictjson"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// A Body is what the body of a POST request asks for. It shares no memory with the text.
type Body struct {
	Request
	Token string // empty: the body has none
	Wait  int    // of a poll, in seconds; at most MaxWait
	Limit int    // of a poll: the number of messages, at most MaxMessages
}

// FromBody parses a body. j was reset to its text.
func FromBody(j *strictjson.Reader, h http.Header) (Body, error) {
	m, err := readMembers(j)
	if err != nil {
		return Body{}, err
	}
	return m.parse(j, h)
}

// InBody reports whether a query parameter with this name means something to GET, so that
// a POST request must have it in its body.
func InBody(name string) bool {
	return resume.IsName(name) || name == "topic" || name == "pattern" || slices.Contains(bodyMembers, name)
}

// bodyMembers are the members of a body that mean something.
var bodyMembers = []string{"topics", "patterns", "since", "last", "mode", "wait", "limit", "token", "presence"}

// members holds the values of bodyMembers, except those that are absent or null.
type members map[string]jsontext.Value

func readMembers(j *strictjson.Reader) (members, error) {
	if err := j.BeginObject(); err != nil {
		return nil, err
	}
	m := make(members)
	for j.MoreMembers() {
		name, value, err := j.Member()
		if err != nil {
			return nil, err
		}
		if value.Kind() != jsontext.KindNull && slices.Contains(bodyMembers, string(name)) {
			m[string(name)] = value
		}
	}
	return m, j.End()
}

func (m members) parse(j *strictjson.Reader, h http.Header) (b Body, err error) {
	contained, err := m.topics(&b.Request, j)
	if err != nil {
		return Body{}, err
	}
	last, err := wire.ReadNumber(m["last"], "last", 0, MaxMessages)
	if err != nil {
		return Body{}, err
	}
	if err := m.resumePoints(&b.Request, j, h, last, contained); err != nil {
		return Body{}, err
	}
	if b.Latest, err = wire.ReadMode(j, m["mode"]); err != nil {
		return Body{}, err
	}
	if err := b.Check(); err != nil {
		return Body{}, err
	}
	if presence := m["presence"]; presence != nil && presence.Kind() != jsontext.KindFalse {
		return Body{}, pubsub.Errorf(pubsub.Malformed, "`presence` is only for WebSockets: leave it out, or subscribe over the JSON protocol")
	}
	if b.Wait, err = wire.ReadNumber(m["wait"], "wait", DefaultWait, MaxWait); err != nil {
		return Body{}, err
	}
	if b.Limit, err = wire.ReadNumber(m["limit"], "limit", MaxMessages, MaxMessages); err != nil {
		return Body{}, err
	}
	b.Token, err = wire.ReadText(j, m["token"], "`token`", "")
	return b, err
}

// topics sets the topics of s, or those of its patterns, and returns the patterns that another
// one contains.
func (m members) topics(s *Request, j *strictjson.Reader) (contained []pubsub.Pattern, err error) {
	list, name, one, each := m["topics"], "topics", "topic", "each of `topics`"
	switch {
	case list != nil && m["patterns"] != nil:
		return nil, pubsub.Errorf(pubsub.Malformed, "the request has both `topics` and `patterns`: send a request for each")
	case m["patterns"] != nil:
		list, name, one, each = m["patterns"], "patterns", "pattern", "each of `patterns`"
	case list == nil:
		return nil, pubsub.Errorf(pubsub.Malformed, "`topics` or `patterns` is missing")
	}
	if err := wire.CheckList(list, name, one); err != nil {
		return nil, err
	}
	var names []string
	for value := range strictjson.Elements(list) {
		name, err := j.Text(value, each)
		if err != nil {
			return nil, err
		}
		names = append(names, string(name))
	}
	if m["patterns"] != nil {
		s.Topics, contained, err = parsePatterns(names)
		return contained, err
	}
	s.Topics, err = parseTopics(names)
	return nil, err
}

// resumePoints sets the resume points of s: positions by topic or pattern, or one text for all.
// The header Last-Event-ID takes precedence over both. contained are the patterns that another
// one contains.
func (m members) resumePoints(s *Request, j *strictjson.Reader, h http.Header, last int, contained []pubsub.Pattern) error {
	since := m["since"]
	byTopic := since.Kind() == jsontext.KindBeginObject
	all := ""
	if !byTopic {
		var err error
		if all, err = wire.ReadText(j, since, "`since`", ""); err != nil {
			return pubsub.Errorf(pubsub.Malformed, "`since` must be an object with a position for each topic, or a string with a cursor")
		}
	}
	param, err := resume.Parse(url.Values{"since": {all}}, h, len(s.Topics))
	if err != nil {
		return err
	}
	s.setResumePoints(param, last, contained)
	if !byTopic {
		return nil
	}
	for name, value := range strictjson.Members(since) {
		if value.Kind() == jsontext.KindNull {
			continue
		}
		text, err := j.Text(value, "a position in `since`")
		if err != nil {
			return err
		}
		position, err := pubsub.ParsePosition(string(text))
		if err != nil {
			return resume.WithName("`since`", err)
		}
		wanted := pubsub.Topic(name)
		if s.Topics[0].IsPattern() {
			wanted = pubsub.Pattern(name).Topic()
		}
		if param.IsZero() && (slices.Contains(s.Topics, wanted) || slices.Contains(contained, pubsub.Pattern(name))) {
			s.resumeFrom(wanted, position)
		}
	}
	return nil
}
