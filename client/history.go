package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// A HistoryRequest says which earlier messages of a topic to read.
type HistoryRequest struct {
	Topic pubsub.Topic
	// Since is the position behind which to begin; the zero Position: the last
	// messages are read.
	Since pubsub.Position
	// Limit is how many messages to read at most; 0: 100 ([Caller.Position] reads
	// none). A server gives no more than 1,000 at once, and none after 1 MiB of JSON:
	// read on from [History.Position] while [History.More] is true.
	Limit int
}

// A History is a part of what a server still has of a topic, oldest first.
type History struct {
	Messages  []Message
	Position  pubsub.Position // from which to go on reading, or to subscribe without a gap
	Recovered bool            // nothing between Since and Messages is missing
	More      bool            // there are messages after Position
}

// History reads earlier messages of a topic. It does not wait for new ones.
func (c *Caller) History(ctx context.Context, r HistoryRequest) (History, error) {
	fail := func(err error) (History, error) {
		return History{}, fmt.Errorf("history of %q: %w", r.Topic, err)
	}
	query := url.Values{}
	if r.Since.Epoch != "" {
		query.Set("since", r.Since.String())
	}
	if r.Limit < 0 {
		return fail(fmt.Errorf("the limit is %d: give the number of messages", r.Limit))
	}
	if r.Limit > 0 {
		query.Set("limit", strconv.Itoa(r.Limit))
	}
	h, err := c.history(ctx, r.Topic, query)
	if err != nil {
		return fail(err)
	}
	return h, nil
}

// Position returns how far a topic is now. A back end that renders a page reads
// first the position and then the state that the page shows, and gives the position
// to the page: a subscription with it in [Subscription.Since] is given what the state
// does not have yet.
func (c *Caller) Position(ctx context.Context, topic pubsub.Topic) (pubsub.Position, error) {
	h, err := c.history(ctx, topic, url.Values{"limit": {"0"}})
	if err != nil {
		return pubsub.Position{}, fmt.Errorf("position of %q: %w", topic, err)
	}
	return h.Position, nil
}

// history reads what query asks for of a topic.
func (c *Caller) history(ctx context.Context, topic pubsub.Topic, query url.Values) (History, error) {
	if _, err := pubsub.ParseTopic(string(topic)); err != nil {
		return History{}, err
	}
	query.Set("topic", string(topic))
	answer, err := c.ask(ctx, request{method: http.MethodGet, path: "history", query: query})
	if err != nil {
		return History{}, err
	}
	return parseHistory(answer)
}

func parseHistory(answer []byte) (h History, err error) {
	var page struct {
		Messages []struct {
			Topic    pubsub.Topic   `json:"topic"`
			Position string         `json:"position"`
			Time     int64          `json:"time"`
			Data     jsontext.Value `json:"data"`
		} `json:"messages"`
		Position  string `json:"position"`
		Recovered bool   `json:"recovered"`
		More      bool   `json:"more"`
	}
	if err := json.Unmarshal(answer, &page); err != nil {
		return History{}, errProtocol
	}
	h = History{Recovered: page.Recovered, More: page.More}
	if h.Position, err = pubsub.ParsePosition(page.Position); err != nil {
		return History{}, errProtocol
	}
	for _, m := range page.Messages {
		position, err := pubsub.ParsePosition(m.Position)
		if err != nil {
			return History{}, errProtocol
		}
		h.Messages = append(h.Messages, Message{Topic: m.Topic, Position: position, Time: time.UnixMilli(m.Time), Data: m.Data})
	}
	return h, nil
}

// Presence returns who is present on a topic now.
func (c *Caller) Presence(ctx context.Context, topic pubsub.Topic) (Present, error) {
	fail := func(err error) (Present, error) {
		return Present{}, fmt.Errorf("presence of %q: %w", topic, err)
	}
	if _, err := pubsub.ParseTopic(string(topic)); err != nil {
		return fail(err)
	}
	answer, err := c.ask(ctx, request{method: http.MethodGet, path: "presence", query: url.Values{"topic": {string(topic)}}})
	if err != nil {
		return fail(err)
	}
	f, err := parseFrame(answer)
	if err != nil || f.Topic != topic {
		return fail(errProtocol)
	}
	return Present{Topic: topic, Count: f.Count, Subscribers: f.Subscribers, Members: f.all()}, nil
}
