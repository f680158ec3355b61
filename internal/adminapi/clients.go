package adminapi

import (
	"net/http"
	"slices"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/control"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// disconnect closes the connections of a user, or one connection.
func (a *api) disconnect(r *http.Request) (any, error) {
	var body struct {
		user       `json:",inline"`
		Connection string `json:"connection"`
	}
	if err := decode(r, &body); err != nil {
		return nil, err
	}
	if body.Connection != "" {
		if body.user != (user{}) {
			return nil, pubsub.Errorf(pubsub.Malformed, "the request has both sub and connection: set one of them")
		}
		name, err := pubsub.ParseConnection(body.Connection)
		if err != nil {
			return nil, err
		}
		outcome, err := a.config.Control.DisconnectConnection(r.Context(), name)
		return a.done(r, "connection disconnected", "connection", body.Connection, outcome, err)
	}
	match, err := body.match()
	if err != nil {
		return nil, err
	}
	outcome, err := a.config.Control.Disconnect(r.Context(), match)
	return a.done(r, "user disconnected", "subject", body.Subject, outcome, err)
}

// changed is the body of a request that changes the subscriptions of a user.
type changed struct {
	user   `json:",inline"`
	topics `json:",inline"`
}

// decodeChanged decodes the body. It fails if the request has no topics.
func decodeChanged(r *http.Request) (c changed, match func(*auth.Claims) bool, names []pubsub.Topic, patterns pubsub.Patterns, err error) {
	if err = decode(r, &c); err != nil {
		return c, nil, nil, nil, err
	}
	if match, err = c.match(); err != nil {
		return c, nil, nil, nil, err
	}
	names, list, err := c.parse()
	if err == nil && len(names)+len(list) == 0 {
		err = pubsub.Errorf(pubsub.Malformed, "the request names no topic: set topics")
	}
	return c, match, names, pubsub.NewPatterns(list), err
}

// unsubscribe ends subscriptions of a user.
func (a *api) unsubscribe(r *http.Request) (any, error) {
	body, match, names, patterns, err := decodeChanged(r)
	if err != nil {
		return nil, err
	}
	outcome, err := a.config.Control.Unsubscribe(r.Context(), match, func(name pubsub.Topic) bool {
		return slices.Contains(names, name) || patterns.Match(name)
	})
	return a.done(r, "user unsubscribed", "subject", body.Subject, outcome, err)
}

// subscribe subscribes the connections of a user.
func (a *api) subscribe(r *http.Request) (any, error) {
	body, match, names, patterns, err := decodeChanged(r)
	switch {
	case err != nil:
		return nil, err
	case len(patterns) > 0:
		return nil, pubsub.Errorf(pubsub.Malformed, "a user cannot be subscribed to patterns: name the topics in topics")
	}
	outcome, err := a.config.Control.Subscribe(r.Context(), match, names)
	return a.done(r, "user subscribed", "subject", body.Subject, outcome, err)
}

// done logs an action and returns the answer to it.
func (a *api) done(r *http.Request, what, key, name string, o control.Outcome, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	a.log.Info(what, key, auth.Loggable(name), "connections", o.Connections, "subscriptions", o.Subscriptions, "remote", r.RemoteAddr)
	return ended(o), nil
}
