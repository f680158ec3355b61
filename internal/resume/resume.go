// Package resume parses where a client of a stream or a poll resumes: a stream cursor or a
// position, in one of the forms that browsers and libraries send. A form that the server
// does not honour is refused, never ignored: the server never claims that nothing is
// missing because it did not understand a resume point.
package resume

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// lastEventID is the header by which a browser resumes an event stream (HTML standard,
// section 9.2.4), as net/http spells it.
const lastEventID = "Last-Event-Id"

// parameters are the parameters that hold a resume point. The first one that a
// request has wins. Libraries that cannot set a header send one of the first four:
// event-source-polyfill, for instance, sends lastEventId.
var parameters = []string{"lastEventId", "lastEventID", "last_event_id", "Last-Event-ID", "since"}

// A Param is where a client resumes its topics. The zero value means that the
// request has none.
type Param struct {
	name       string // of the parameter or header, for errors
	isPosition bool   // a position, for one topic; else a stream cursor
	since      func(pubsub.Topic) (since pubsub.Position, epochs []string)
}

// Of returns where a topic resumes: the Since and Epochs of its resume point.
func (p Param) Of(name pubsub.Topic) (point topic.ResumePoint) {
	if p.since != nil {
		point.Since, point.Epochs = p.since(name)
	}
	return point
}

// Parse returns the resume point of a request for a number of topics: that of
// the header, which a browser sends by itself, else that of the first of
// parameters. An empty one counts as absent. Each of them must be well-formed,
// even if another one wins: the server never claims that nothing is missing because it
// did not understand a resume point.
func Parse(q url.Values, h http.Header, topics int) (Param, error) {
	if err := checkNames(q); err != nil {
		return Param{}, err
	}
	var first Param
	for _, name := range parameters {
		text := q.Get(name)
		if text == "" {
			continue
		}
		point, err := parseParameter(name, text)
		if err != nil {
			return Param{}, err
		}
		if first.since == nil {
			first = point
		}
	}
	ids := h[lastEventID]
	switch {
	case len(ids) > 1:
		return Param{}, pubsub.Errorf(pubsub.Malformed, "there is more than one Last-Event-ID header: send one")
	case len(ids) == 1 && ids[0] != "":
		return parseCursor("the header Last-Event-ID", ids[0])
	case first.isPosition && topics > 1:
		return Param{}, pubsub.Errorf(pubsub.Malformed, "%s is a position, which covers one topic: for several topics, send the cursor that the server sent for them", first.name)
	}
	return first, nil
}

// checkNames refuses a resume parameter that occurs twice, or that has a spelling
// unknown to the server, unless it is empty.
func checkNames(q url.Values) error {
	for name, values := range q {
		if !isName(name) {
			continue
		}
		if !slices.Contains(parameters, name) {
			if allEmpty(values) {
				continue
			}
			return pubsub.Errorf(pubsub.Malformed, "a parameter looks like a misspelled `since` or `lastEventId`: write `since` or `lastEventId`, or send the header Last-Event-ID")
		}
		if len(values) > 1 {
			return pubsub.Errorf(pubsub.Malformed, "`%s` appears more than once: send it once", name)
		}
	}
	return nil
}

// isName reports whether a parameter of this name is meant as a resume point.
// Some libraries write a parameter as an element of a list or an object, as in since[],
// since[0] or since[topic].
func isName(name string) bool {
	name, _, _ = strings.Cut(name, "[")
	name = separators.Replace(name)
	return strings.EqualFold(name, "since") || strings.EqualFold(name, "lastEventID")
}

// separators are characters that some spellings of a name have.
var separators = strings.NewReplacer("_", "", "-", "")

// Refuse refuses the resume points of streams, for a route that takes only
// `since`.
func Refuse(q url.Values, h http.Header) error {
	for name, values := range q {
		if name != "since" && isName(name) && !allEmpty(values) {
			return pubsub.Errorf(pubsub.Malformed, "a parameter looks like a misspelled `since`: write `since` with a position")
		}
	}
	if !allEmpty(h[lastEventID]) {
		return pubsub.Errorf(pubsub.Malformed, "the header Last-Event-ID does not apply here: send a position in `since`")
	}
	return nil
}

// allEmpty reports whether a parameter or header counts as absent.
func allEmpty(values []string) bool {
	return !slices.ContainsFunc(values, func(v string) bool { return v != "" })
}

// parseParameter parses the text of a parameter: a stream cursor, or a position.
func parseParameter(name, text string) (Param, error) {
	name = "`" + name + "`"
	if !strings.Contains(text, ":") {
		return parseCursor(name, text)
	}
	position, err := pubsub.ParsePosition(text)
	if err != nil {
		return Param{}, WithName(name, err)
	}
	return Param{name, true, func(pubsub.Topic) (pubsub.Position, []string) { return position, nil }}, nil
}

func parseCursor(name, text string) (Param, error) {
	cursor, err := wire.ParseStreamCursor(text)
	if err != nil {
		return Param{}, WithName(name, err)
	}
	return Param{name, false, cursor.ResumeFrom}, nil
}

// WithName returns err with the name of the parameter or header in front.
func WithName(name string, err error) error {
	e := pubsub.Refusal(err)
	return pubsub.Errorf(e.Code, "%s: %s", name, e.Detail)
}
