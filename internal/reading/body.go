package reading

import (
	"net/http"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/resume"
	"github.com/ikornaselur/notiflux/internal/strictjson"
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
	return resume.IsName(name) || name == "topic" || slices.Contains(bodyMembers, name)
}

// bodyMembers are the members of a body that mean something.
var bodyMembers = []string{"topics", "since", "last", "mode", "wait", "limit", "token", "presence"}

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
	if b.Topics, err = m.topics(j); err != nil {
		return Body{}, err
	}
	last, err := m.number("last", 0, MaxMessages)
	if err != nil {
		return Body{}, err
	}
	if err := m.resumePoints(&b.Request, j, h, last); err != nil {
		return Body{}, err
	}
	mode, err := m.text(j, "mode", "all")
	if err != nil {
		return Body{}, err
	}
	if b.Latest, err = IsLatest(mode); err != nil {
		return Body{}, err
	}
	if presence := m["presence"]; presence != nil && presence.Kind() != jsontext.KindFalse {
		return Body{}, pubsub.Errorf(pubsub.Malformed, "`presence` is only for WebSockets: leave it out, or subscribe over the JSON protocol")
	}
	if b.Wait, err = m.number("wait", DefaultWait, MaxWait); err != nil {
		return Body{}, err
	}
	if b.Limit, err = m.number("limit", MaxMessages, MaxMessages); err != nil {
		return Body{}, err
	}
	b.Token, err = m.text(j, "token", "")
	return b, err
}

func (m members) topics(j *strictjson.Reader) ([]pubsub.Topic, error) {
	list := m["topics"]
	switch {
	case list == nil:
		return nil, pubsub.Errorf(pubsub.Malformed, "`topics` is missing")
	case list.Kind() != jsontext.KindBeginArray:
		return nil, pubsub.Errorf(pubsub.Malformed, "`topics` must be an array of strings")
	}
	var names []string
	for value := range strictjson.Elements(list) {
		name, err := j.Text(value, "each of `topics`")
		if err != nil {
			return nil, err
		}
		names = append(names, string(name))
	}
	if len(names) == 0 {
		return nil, pubsub.Errorf(pubsub.Malformed, "`topics` is empty: name at least one topic")
	}
	return parseTopics(names)
}

// resumePoints sets the resume points of s: positions by topic, or one text for all topics.
// The header Last-Event-ID takes precedence over both.
func (m members) resumePoints(s *Request, j *strictjson.Reader, h http.Header, last int) error {
	since := m["since"]
	byTopic := since != nil && since.Kind() == jsontext.KindBeginObject
	all := ""
	if !byTopic {
		var err error
		if all, err = m.text(j, "since", ""); err != nil {
			return pubsub.Errorf(pubsub.Malformed, "`since` must be an object with a position for each topic, or a string with a cursor")
		}
	}
	param, err := resume.ParseBody(all, h, len(s.Topics))
	if err != nil {
		return err
	}
	s.setResumePoints(param, last)
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
		if i := slices.Index(s.Topics, pubsub.Topic(name)); i >= 0 && param.IsZero() {
			s.ResumePoints[i].Since = position
		}
	}
	return nil
}

// number returns a member that is a whole number, limited to limit, or otherwise if it is
// absent.
func (m members) number(name string, otherwise, limit int) (int, error) {
	if m[name] == nil {
		return otherwise, nil
	}
	n, ok := strictjson.Whole(m[name], int64(limit))
	if !ok {
		return 0, errNumber(name)
	}
	return int(n), nil
}

// text returns a member that is a string, or otherwise if it is absent.
func (m members) text(j *strictjson.Reader, name, otherwise string) (string, error) {
	if m[name] == nil {
		return otherwise, nil
	}
	text, err := j.Text(m[name], "`"+name+"`")
	return string(text), err
}
