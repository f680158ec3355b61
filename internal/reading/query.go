package reading

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/resume"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// FromQuery returns the topics or patterns of a GET request with their resume points.
func FromQuery(q url.Values, h http.Header) (s Request, err error) {
	var contained []pubsub.Pattern
	switch {
	case q.Has("topic") && q.Has("pattern"):
		return Request{}, pubsub.Errorf(pubsub.Malformed, "the request has both `topic` and `pattern`: send a request for each")
	case q.Has("pattern"):
		s.Topics, contained, err = parsePatterns(q["pattern"])
	case q.Has("topic"):
		s.Topics, err = parseTopics(q["topic"])
	default:
		return Request{}, pubsub.Errorf(pubsub.Malformed, "`topic` or `pattern` is missing")
	}
	if err != nil {
		return Request{}, err
	}
	last, err := Number(q, "last", 0, MaxMessages)
	if err != nil {
		return Request{}, err
	}
	param, err := resume.Parse(q, h, len(s.Topics))
	if err != nil {
		return Request{}, err
	}
	s.setResumePoints(param, last, contained)
	return s, s.Check()
}

// setResumePoints sets the resume point of each topic. contained are the patterns that another
// one of the request contains.
func (s *Request) setResumePoints(param resume.Param, last int, contained []pubsub.Pattern) {
	s.ResumePoints = make([]topic.ResumePoint, len(s.Topics))
	for i, name := range s.Topics {
		s.ResumePoints[i] = param.Of(name)
		s.ResumePoints[i].Last = last
	}
	for _, p := range contained {
		if since := param.Of(p.Topic()).Since; since.Epoch != "" {
			s.resumeFrom(p.Topic(), since)
		}
	}
}

// resumeFrom makes a topic, or the pattern that contains that of name, resume from since, unless
// it resumes from an earlier position.
func (s *Request) resumeFrom(name pubsub.Topic, since pubsub.Position) {
	i := slices.IndexFunc(s.Topics, func(t pubsub.Topic) bool { return t == name || containsPattern(t, name) })
	if i < 0 {
		return
	}
	switch at := &s.ResumePoints[i].Since; {
	case at.Epoch == "":
		*at = since
	case at.Epoch != since.Epoch: // One of the epochs has ended.
		*at = wire.NeverCovered
	default:
		at.Offset = min(at.Offset, since.Offset)
	}
}

// containsPattern reports whether both are topics of patterns, and that of t contains the other.
func containsPattern(t, other pubsub.Topic) bool {
	p, ok := t.Pattern()
	q, also := other.Pattern()
	return ok && also && p.Contains(q)
}

// Check returns an error if a request for patterns has an option that only topics have.
func (s *Request) Check() error {
	if s.Topics[0].IsPattern() && (s.ResumePoints[0].Last > 0 || s.Latest) {
		return pubsub.Errorf(pubsub.Malformed, "`last` and the mode latest are only for topics: patterns have all messages from now on, or after `since`")
	}
	return nil
}

// parsePatterns returns the topics of patterns, without those that another pattern contains, and
// these.
func parsePatterns(names []string) (topics []pubsub.Topic, contained []pubsub.Pattern, err error) {
	var all []pubsub.Pattern
	for _, name := range names {
		pattern, err := pubsub.ParsePattern(name)
		switch {
		case err != nil:
			return nil, nil, err
		case slices.Contains(all, pattern):
			continue
		case len(all) == maxPatterns:
			return nil, nil, pubsub.Errorf(pubsub.Malformed, "there are more than %d patterns, the limit for one request", maxPatterns)
		}
		all = append(all, pattern)
	}
	for _, p := range all {
		if slices.ContainsFunc(all, func(q pubsub.Pattern) bool { return q != p && q.Contains(p) }) {
			contained = append(contained, p)
		} else {
			topics = append(topics, p.Topic())
		}
	}
	return topics, contained, nil
}

func parseTopics(names []string) ([]pubsub.Topic, error) {
	topics := make([]pubsub.Topic, 0, min(len(names), maxTopics))
	seen := make(map[pubsub.Topic]bool, cap(topics))
	for _, name := range names {
		topic, err := pubsub.ParseTopic(name)
		switch {
		case err != nil:
			return nil, err
		case seen[topic]:
			continue
		case len(topics) == maxTopics:
			return nil, pubsub.Errorf(pubsub.Malformed, "there are more than %d topics, the limit for one request", maxTopics)
		}
		seen[topic] = true
		topics = append(topics, topic)
	}
	return topics, nil
}

// Number returns a parameter that is a whole number, limited to limit. If the parameter is
// absent, it returns otherwise.
func Number(q url.Values, name string, otherwise, limit int) (int, error) {
	if !q.Has(name) {
		return otherwise, nil
	}
	n, err := strconv.ParseUint(q.Get(name), 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, wire.ErrNumber(name)
	}
	return int(min(n, uint64(limit))), nil // if out of range, n is the maximum
}
