package httpapi

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/resume"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// Limits of a request: docs/protocol.md, section 6. A client that asks for more messages
// than maxMessages gets maxMessages.
const (
	maxStreamTopics = 64
	maxMessages     = 1000
)

// A streamRequest holds the query of a stream.
type streamRequest struct {
	Topics       []pubsub.Topic      // 1 to 64, without duplicates, in the order of the request
	ResumePoints []topic.ResumePoint // one for each of Topics; Last is at most 1,000
	Latest       bool                // mode=latest: a client that is behind skips to the newest message
}

// parseStream parses the query of /events or /stream. Its errors are [pubsub.Error]s with
// Malformed or TopicInvalid. It checks neither the token nor whether a resume point is
// still covered.
func (a *API) parseStream(r *http.Request) (streamRequest, error) {
	q, err := a.query(r, "since", "last", "mode")
	if err != nil {
		return streamRequest{}, err
	}
	s, err := a.parseResumePoints(q, r.Header)
	if err != nil {
		return streamRequest{}, err
	}
	switch mode := q["mode"]; {
	case mode == nil || mode[0] == "all":
	case mode[0] == "latest":
		s.Latest = true
	default:
		return streamRequest{}, pubsub.Errorf(pubsub.Malformed, "`mode` must be all or latest")
	}
	return s, nil
}

// query returns the parameters of a request. The known ones and the token must not occur
// twice. Other parameters are not checked.
func (a *API) query(r *http.Request, known ...string) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil { // err quotes the query, which may contain a token
		return nil, pubsub.Errorf(pubsub.Malformed, "the query is malformed: use name=value pairs separated by &, with special characters escaped as %%XX")
	}
	if !a.config.NoQueryTokens {
		known = append(known, tokenParameter)
	}
	for _, name := range known {
		if len(q[name]) > 1 {
			return nil, pubsub.Errorf(pubsub.Malformed, "`%s` appears more than once: send it once", name)
		}
	}
	return q, nil
}

// parseResumePoints returns the topics of a request with their resume points.
func (a *API) parseResumePoints(q url.Values, h http.Header) (s streamRequest, err error) {
	if s.Topics, err = parseTopics(q["topic"]); err != nil {
		return streamRequest{}, err
	}
	last, err := parseNumber(q, "last", 0, maxMessages)
	if err != nil {
		return streamRequest{}, err
	}
	param, err := resume.Parse(q, h, len(s.Topics))
	if err != nil {
		return streamRequest{}, err
	}
	s.ResumePoints = make([]topic.ResumePoint, len(s.Topics))
	for i, name := range s.Topics {
		s.ResumePoints[i] = param.Of(name)
		s.ResumePoints[i].Last = last
	}
	return s, nil
}

func parseTopics(names []string) ([]pubsub.Topic, error) {
	topics := make([]pubsub.Topic, 0, min(len(names), maxStreamTopics))
	seen := make(map[pubsub.Topic]bool, cap(topics))
	for _, name := range names {
		topic, err := pubsub.ParseTopic(name)
		switch {
		case err != nil:
			return nil, err
		case seen[topic]:
			continue
		case len(topics) == maxStreamTopics:
			return nil, pubsub.Errorf(pubsub.Malformed, "there are more than %d topics, the limit for one request", maxStreamTopics)
		}
		seen[topic] = true
		topics = append(topics, topic)
	}
	if len(topics) == 0 {
		return nil, pubsub.Errorf(pubsub.Malformed, "`topic` is missing")
	}
	return topics, nil
}

// parseNumber returns a parameter that is a whole number, limited to limit. If the
// parameter is absent, it returns otherwise.
func parseNumber(q url.Values, name string, otherwise, limit int) (int, error) {
	if !q.Has(name) {
		return otherwise, nil
	}
	n, err := strconv.ParseUint(q.Get(name), 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, pubsub.Errorf(pubsub.Malformed, "`%s` must be a whole number, 0 or more", name)
	}
	return int(min(n, uint64(limit))), nil // if out of range, n is the maximum
}
