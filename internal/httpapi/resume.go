package httpapi

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// lastEventID is the header by which a browser resumes an event stream (HTML standard,
// section 9.2.4), as net/http spells it.
const lastEventID = "Last-Event-Id"

// resumeParameters are the parameters that hold a resume point. The first one that a
// request has wins. Libraries that cannot set a header send one of the first four:
// event-source-polyfill, for instance, sends lastEventId.
var resumeParameters = []string{"lastEventId", "lastEventID", "last_event_id", "Last-Event-ID", "since"}

// A resumeParam is where a client resumes its topics. The zero value means that the
// request has none.
type resumeParam struct {
	name       string // of the parameter or header, for errors
	isPosition bool   // a position, for one topic; else a stream cursor
	since      func(notiflux.Topic) (since notiflux.Position, epochs []string)
}

// of returns where a topic resumes: the Since and Epochs of its resume point.
func (p resumeParam) of(name notiflux.Topic) (point topic.ResumePoint) {
	if p.since != nil {
		point.Since, point.Epochs = p.since(name)
	}
	return point
}

// parseResume returns the resume point of a request for a number of topics: that of
// the header, which a browser sends by itself, else that of the first of
// resumeParameters. An empty one counts as absent. Each of them must be well-formed,
// even if another one wins: the server never claims that nothing is missing because it
// did not understand a resume point.
func parseResume(q url.Values, h http.Header, topics int) (resumeParam, error) {
	if err := checkResumeNames(q); err != nil {
		return resumeParam{}, err
	}
	var first resumeParam
	for _, name := range resumeParameters {
		text := q.Get(name)
		if text == "" {
			continue
		}
		point, err := parseParameter(name, text)
		if err != nil {
			return resumeParam{}, err
		}
		if first.since == nil {
			first = point
		}
	}
	ids := h[lastEventID]
	switch {
	case len(ids) > 1:
		return resumeParam{}, notiflux.Errorf(notiflux.Malformed, "there is more than one Last-Event-ID header")
	case len(ids) == 1 && ids[0] != "":
		return parseCursor("the header Last-Event-ID", ids[0])
	case first.isPosition && topics > 1:
		return resumeParam{}, notiflux.Errorf(notiflux.Malformed, "%s is a position, which is for one topic: give the cursor of these topics", first.name)
	}
	return first, nil
}

// checkResumeNames refuses a resume parameter that occurs twice, or that has a spelling
// unknown to the server, unless it is empty.
func checkResumeNames(q url.Values) error {
	for name, values := range q {
		if !isResumeName(name) {
			continue
		}
		if !slices.Contains(resumeParameters, name) {
			if allEmpty(values) {
				continue
			}
			return notiflux.Errorf(notiflux.Malformed, "a parameter looks like `since` or `lastEventId` but is spelled differently: write `since` or `lastEventId`, or send the header Last-Event-ID")
		}
		if len(values) > 1 {
			return notiflux.Errorf(notiflux.Malformed, "`%s` is there more than once", name)
		}
	}
	return nil
}

// isResumeName reports whether a parameter of this name is meant as a resume point.
// Some libraries write a parameter as an element of a list or an object, as in since[],
// since[0] or since[topic].
func isResumeName(name string) bool {
	name, _, _ = strings.Cut(name, "[")
	name = separators.Replace(name)
	return strings.EqualFold(name, "since") || strings.EqualFold(name, "lastEventID")
}

// separators are characters that some spellings of a name have.
var separators = strings.NewReplacer("_", "", "-", "")

// refuseResume refuses the resume points of streams, for a route that takes only
// `since`.
func refuseResume(q url.Values, h http.Header) error {
	for name, values := range q {
		if name != "since" && isResumeName(name) && !allEmpty(values) {
			return notiflux.Errorf(notiflux.Malformed, "a parameter looks like `since` or `lastEventId`: write `since`, with a position")
		}
	}
	if !allEmpty(h[lastEventID]) {
		return notiflux.Errorf(notiflux.Malformed, "there is a header Last-Event-ID: give `since`, a position, instead")
	}
	return nil
}

// allEmpty reports whether a parameter or header counts as absent.
func allEmpty(values []string) bool {
	return !slices.ContainsFunc(values, func(v string) bool { return v != "" })
}

// parseParameter parses the text of a parameter: a stream cursor, or a position.
func parseParameter(name, text string) (resumeParam, error) {
	name = "`" + name + "`"
	if !strings.Contains(text, ":") {
		return parseCursor(name, text)
	}
	position, err := notiflux.ParsePosition(text)
	if err != nil {
		return resumeParam{}, withName(name, err)
	}
	return resumeParam{name, true, func(notiflux.Topic) (notiflux.Position, []string) { return position, nil }}, nil
}

func parseCursor(name, text string) (resumeParam, error) {
	cursor, err := wire.ParseStreamCursor(text)
	if err != nil {
		return resumeParam{}, withName(name, err)
	}
	return resumeParam{name, false, cursor.ResumeFrom}, nil
}

// withName returns err with the name of the parameter or header in front.
func withName(name string, err error) error {
	e := notiflux.Refusal(err)
	return notiflux.Errorf(e.Code, "%s: %s", name, e.Detail)
}
