package client

import (
	"mime"
	"net/http"
	"net/url"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// run takes what a stream brings, until it ends, and returns why the session is to
// end with it; nil: only its topics were refused.
func (r *relay) run(st *stream, token Token) error {
	if st.subscriptions[0].presence {
		r.refuse(st, pubsub.Errorf(pubsub.UpgradeRequired, "presence takes a WebSocket, and something between here and the server lets none through"))
		return nil
	}
	response, err := r.client.send(st.reading, request{method: http.MethodGet, path: "events", query: st.query}, token)
	if err != nil {
		return st.why(err)
	}
	defer response.Body.Close()
	media, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if response.StatusCode != http.StatusOK || media != "text/event-stream" {
		return r.refused(st, statusError(response), token)
	}
	events := newEventReader(response.Body, st.heard)
	if err := r.hello(st, events); err != nil {
		return err
	}
	for {
		f, err := st.nextFrame(events)
		if err != nil {
			return err
		}
		switch f.Type {
		case "message", "skipped", "gap":
			r.client.move(st.reading, st.session, &f)
		case "unsubscribed":
			r.client.ended(st.reading, st.session, &f)
			r.client.wakeRun()
		case "bye":
			return &CloseError{Bye: f.Code, After: time.Duration(f.After) * time.Millisecond}
		}
	}
}

// nextFrame returns the next frame of a stream.
func (st *stream) nextFrame(events *eventReader) (frame, error) {
	data, err := events.next()
	if err != nil {
		return frame{}, st.why(err)
	}
	return parseFrame(data)
}

// hello takes the first event, which is the answer for all topics.
func (r *relay) hello(st *stream, events *eventReader) error {
	f, err := st.nextFrame(events)
	if err != nil {
		return err
	}
	var topics map[pubsub.Topic]subscribed
	if f.Type != "hello" || json.Unmarshal(f.Topics, &topics) != nil {
		return errProtocol
	}
	r.session.opened.Store(true)
	for _, i := range st.subscriptions {
		t, ok := topics[i.topic]
		if !ok {
			return errProtocol
		}
		if r.holds(st, i) {
			r.client.subscribed(st.reading, st.session, i, t)
		}
	}
	return nil
}

// holds reports whether a topic is still that of a stream.
func (r *relay) holds(st *stream, i *topicSubscription) bool {
	r.client.mu.Lock()
	defer r.client.mu.Unlock()
	return r.client.subscriptions[i.topic] == i && i.asked == st.session
}

// refused takes the answer in place of a stream. A server refuses all topics of a
// stream for one, so each is asked about by itself.
func (r *relay) refused(st *stream, e *StatusError, token Token) error {
	switch {
	case e.Err == nil:
		return e
	case e.Status == http.StatusForbidden && len(st.subscriptions) > 1:
		refused := false
		for _, i := range st.subscriptions {
			about := request{method: http.MethodGet, path: "history", query: url.Values{"topic": {string(i.topic)}, "limit": {"0"}}}
			_, err := r.client.exchange(st.reading, about, token)
			one, ok := err.(*StatusError)
			switch {
			case ok && one.Err != nil && one.Status == http.StatusForbidden:
				refused = true
				r.refuseOne(st, i, one.Err)
			case ok && one.Err != nil && one.Status == http.StatusUnauthorized:
				r.refuse(st, one.Err)
				return nil
			case err != nil:
				return st.why(err)
			}
			st.heard()
		}
		if refused {
			return nil // the others are asked for again
		}
	case e.Status == http.StatusBadRequest, e.Status == http.StatusUnauthorized, e.Status == http.StatusForbidden:
	default:
		return e
	}
	r.refuse(st, e.Err)
	return nil
}

// refuse refuses all topics of a stream.
func (r *relay) refuse(st *stream, refusal *pubsub.Error) {
	for _, i := range st.subscriptions {
		r.refuseOne(st, i, refusal)
	}
}

func (r *relay) refuseOne(st *stream, i *topicSubscription, refusal *pubsub.Error) {
	if r.holds(st, i) {
		r.client.refuse(st.reading, st.session, i, refusal, false)
	}
}
