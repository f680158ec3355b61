package reading

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/resume"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// FromQuery returns the topics of a GET request with their resume points.
func FromQuery(q url.Values, h http.Header) (s Request, err error) {
	if !q.Has("topic") {
		return Request{}, pubsub.Errorf(pubsub.Malformed, "`topic` is missing")
	}
	if s.Topics, err = parseTopics(q["topic"]); err != nil {
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
	s.setResumePoints(param, last)
	return s, nil
}

// setResumePoints sets the resume point of each topic.
func (s *Request) setResumePoints(param resume.Param, last int) {
	s.ResumePoints = make([]topic.ResumePoint, len(s.Topics))
	for i, name := range s.Topics {
		s.ResumePoints[i] = param.Of(name)
		s.ResumePoints[i].Last = last
	}
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
