// Package resume parses the resume point of a stream, poll or history request: a stream
// cursor (how far a client is in each of its topics) or a position (in one topic), in one
// of the forms that browsers and libraries send.
//
// [Parse] reads the query parameters and the Last-Event-ID header of a request. The
// resulting [Param] gives each topic of the request its own resume point ([Param.Of]). A
// route that accepts only a position in `since` parses it itself, and calls [Refuse] to
// refuse all other forms.
//
// Invariant: the server refuses a form that it does not support, and never ignores it.
// Otherwise it would tell the client that no message is missing, only because it did not
// understand the resume point.
//
// The package does not check whether a log still covers the resume point. Package topic
// does.
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

// lastEventID is the header with which a browser resumes an event stream (HTML standard,
// section 9.2.4), in the spelling of net/http.
const lastEventID = "Last-Event-Id"

// parameters are the query parameters that can hold a resume point. If a request has
// several, the first in this order applies. Libraries that cannot set a header send one of
// the first four: event-source-polyfill sends lastEventId, for example.
var parameters = []string{"lastEventId", "lastEventID", "last_event_id", "Last-Event-ID", "since"}

// A Param is the resume point of a request, for all of its topics. The zero value means
// that the request has none.
type Param struct {
	name       string // name of the parameter or header, for errors
	isPosition bool   // it is a position, for one topic; otherwise a stream cursor
	since      func(pubsub.Topic) (since pubsub.Position, epochs []string)
}

// Of returns the resume point of one topic. It sets only Since and Epochs.
func (p Param) Of(name pubsub.Topic) (point topic.ResumePoint) {
	if p.since != nil {
		point.Since, point.Epochs = p.since(name)
	}
	return point
}

// IsZero reports whether the request has no resume point.
func (p Param) IsZero() bool { return p.since == nil }

// Parse returns the resume point of a request that has the given number of topics. The
// header Last-Event-ID, which browsers send automatically, takes precedence over the
// parameters. An empty value counts as absent. Every value must be well-formed, even if
// another one applies.
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
		return Param{}, pubsub.Errorf(pubsub.Malformed, "%s is a position, which applies to one topic: to resume several topics, send the last cursor that the server sent", first.name)
	}
	return first, nil
}

// checkNames refuses a resume parameter that occurs twice, or has a spelling that the
// server does not know and a value that is not empty.
func checkNames(q url.Values) error {
	for name, values := range q {
		if !IsName(name) {
			continue
		}
		if !slices.Contains(parameters, name) {
			if allEmpty(values) {
				continue
			}
			return pubsub.Errorf(pubsub.Malformed, "the parameter %q looks like a misspelled `since` or `lastEventId`: write one of these, or send the header Last-Event-ID", name)
		}
		if len(values) > 1 {
			return pubsub.Errorf(pubsub.Malformed, "`%s` appears more than once: send it once", name)
		}
	}
	return nil
}

// IsName reports whether a parameter with this name is meant to be a resume point. Some
// libraries write a parameter as an element of a list or an object: since[], since[0] or
// since[topic].
func IsName(name string) bool {
	name, _, _ = strings.Cut(name, "[")
	name = separators.Replace(name)
	return strings.EqualFold(name, "since") || strings.EqualFold(name, "lastEventID")
}

// separators removes the characters that some spellings have between words.
var separators = strings.NewReplacer("_", "", "-", "")

// Refuse returns an error if a request has a resume point other than `since`. It is for
// routes that accept only that one.
func Refuse(q url.Values, h http.Header) error {
	for name, values := range q {
		if name != "since" && IsName(name) && !allEmpty(values) {
			return pubsub.Errorf(pubsub.Malformed, "the parameter %q does not apply here: send a position in `since`", name)
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

// parseParameter parses the value of a parameter: a stream cursor or a position.
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

// WithName returns the refusal of err with the name of the parameter or header before its
// text.
func WithName(name string, err error) error {
	e := pubsub.Refusal(err)
	return pubsub.Errorf(e.Code, "%s: %s", name, e.Detail)
}
