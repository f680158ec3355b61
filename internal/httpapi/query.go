package httpapi

import (
	"bytes"
	"net/http"
	"net/url"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/reading"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// parseStream parses the query of /events or /stream. Its errors are [pubsub.Error]s with
// Malformed or TopicInvalid. It checks neither the token nor whether a resume point is
// still covered.
func (a *API) parseStream(r *http.Request) (reading.Request, error) {
	q, err := a.query(r, "since", "last", "mode")
	if err != nil {
		return reading.Request{}, err
	}
	s, err := reading.FromQuery(q, r.Header)
	if err != nil {
		return reading.Request{}, err
	}
	if q.Has("mode") {
		if s.Latest, err = wire.IsLatest(q.Get("mode")); err != nil {
			return reading.Request{}, err
		}
	}
	return s, s.Check()
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

// parsePosted reads and parses the body of POST /events, /stream or /poll.
func (a *API) parsePosted(w http.ResponseWriter, r *http.Request) (reading.Body, error) {
	if err := checkMedia(r.Header); err != nil {
		return reading.Body{}, err
	}
	q, err := a.query(r)
	if err != nil {
		return reading.Body{}, err
	}
	for name := range q {
		if reading.InBody(name) {
			return reading.Body{}, pubsub.Errorf(pubsub.Malformed, "the parameter %q does not apply to POST: send it in the body", name)
		}
	}
	u := a.newUpload(r)
	defer u.end()
	d, err := u.read(w)
	if err != nil {
		return reading.Body{}, err
	}
	d.json.Reset(bytes.TrimPrefix(d.body, []byte(byteOrderMark)), "the body", "send a JSON object with `topics` or `patterns`")
	return reading.FromBody(&d.json, r.Header)
}
