package client

import (
	"context"
	"fmt"
	"net/url"
	"strconv"

	"github.com/ikornaselur/notiflux/client/internal/wire"
)

// HistoryOptions select messages of a topic. The zero value selects the newest ones.
type HistoryOptions struct {
	Since Position // selects the messages after it
	Limit int      // maximum number of messages; 0: 100. The server's maximum is 1,000
}

// A History holds messages of a topic, oldest first.
type History struct {
	Messages  []Message
	Position  Position // to continue reading from, or to subscribe from without a gap
	Recovered bool     // no message between Since and Messages is missing
	More      bool     // the server has messages after Position; call History again
}

// History reads messages of a topic that the server still has. It does not wait for new
// ones. A history of large messages comes in parts of about 1 MiB: see [History.More].
func (c *Client) History(ctx context.Context, topic string, o HistoryOptions) (History, error) {
	query := url.Values{}
	if o.Since != "" {
		query.Set("since", string(o.Since))
	}
	if o.Limit < 0 {
		return History{}, fmt.Errorf("history of %q: Limit is %d; use 0 or a larger number", topic, o.Limit)
	}
	if o.Limit > 0 {
		query.Set("limit", strconv.Itoa(o.Limit))
	}
	h, err := c.history(ctx, topic, query)
	if err != nil {
		return History{}, fmt.Errorf("history of %q: %w", topic, err)
	}
	return h, nil
}

// Position returns the position of the newest message of a topic. A back end that renders a
// page reads the position first, then the data, and puts both into the page. A subscription
// from this position gets every message that the data may lack.
func (c *Client) Position(ctx context.Context, topic string) (Position, error) {
	h, err := c.history(ctx, topic, url.Values{"limit": {"0"}})
	if err != nil {
		return "", fmt.Errorf("position of %q: %w", topic, err)
	}
	return h.Position, nil
}

// history reads the messages of a topic that query selects.
func (c *Client) history(ctx context.Context, topic string, query url.Values) (History, error) {
	answer, err := c.get(ctx, "history", topic, query)
	if err != nil {
		return History{}, err
	}
	return parseHistory(answer)
}

func parseHistory(answer []byte) (History, error) {
	page, err := wire.ParsePage(answer)
	if err != nil {
		return History{}, err
	}
	h := History{Position: Position(page.Position), Recovered: page.Recovered, More: page.More}
	for _, m := range page.Messages {
		h.Messages = append(h.Messages, newMessage(m.Topic, Position(m.Position), m.Time, m.Data))
	}
	return h, nil
}

// Presence returns the members of a topic at this moment.
func (c *Client) Presence(ctx context.Context, topic string) (Present, error) {
	p, err := c.presence(ctx, topic)
	if err != nil {
		return Present{}, fmt.Errorf("presence of %q: %w", topic, err)
	}
	return p, nil
}

func (c *Client) presence(ctx context.Context, topic string) (Present, error) {
	answer, err := c.get(ctx, "presence", topic, url.Values{})
	if err != nil {
		return Present{}, err
	}
	f, err := wire.ParseFrame(answer)
	if err != nil || f.Topic != topic {
		return Present{}, wire.ErrProtocol
	}
	return Present{Topic: topic, Count: f.Count, Subscribers: f.Subscribers, Members: members(f)}, nil
}
