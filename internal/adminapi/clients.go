package adminapi

import (
	"net/http"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// disconnect closes the connections of a user, or one connection.
func (a *API) disconnect(r *http.Request) (any, error) {
	var body struct {
		user       `json:",inline"`
		Connection string `json:"connection"`
	}
	if err := a.decode(r, &body); err != nil {
		return nil, err
	}
	if body.Connection != "" {
		if body.user != (user{}) {
			return nil, pubsub.Errorf(pubsub.Malformed, "connection cannot be combined with sub or issuer: set one of them")
		}
		name, err := pubsub.ParseConnection(body.Connection)
		if err != nil {
			return nil, err
		}
		return a.act(r, "connection disconnected", "connection", body.Connection, &action{Do: doDisconnectConnection, Connection: name})
	}
	if err := body.check(); err != nil {
		return nil, err
	}
	return a.act(r, "user disconnected", "subject", body.Subject, &action{Do: doDisconnect, Subject: body.Subject, Issuer: body.Issuer})
}

// decodeChanged decodes the body of a request that changes the subscriptions of a user. It fails
// if the request has no topics.
func (a *API) decodeChanged(r *http.Request, do string) (*action, error) {
	var body struct {
		user   `json:",inline"`
		topics `json:",inline"`
	}
	if err := a.decode(r, &body); err != nil {
		return nil, err
	}
	if err := body.check(); err != nil {
		return nil, err
	}
	names, patterns, err := body.parse()
	if err == nil && len(names)+len(patterns) == 0 {
		err = pubsub.Errorf(pubsub.Malformed, "the request names no topic: set topics")
	}
	return &action{Do: do, Subject: body.Subject, Issuer: body.Issuer, Topics: names, Patterns: patterns}, err
}

// unsubscribe ends subscriptions of a user.
func (a *API) unsubscribe(r *http.Request) (any, error) {
	act, err := a.decodeChanged(r, doUnsubscribe)
	if err != nil {
		return nil, err
	}
	return a.act(r, "user unsubscribed", "subject", act.Subject, act)
}

// subscribe subscribes the connections of a user.
func (a *API) subscribe(r *http.Request) (any, error) {
	act, err := a.decodeChanged(r, doSubscribe)
	switch {
	case err != nil:
		return nil, err
	case len(act.Patterns) > 0:
		return nil, pubsub.Errorf(pubsub.Malformed, "a user cannot be subscribed to patterns: name the topics in topics")
	}
	return a.act(r, "user subscribed", "subject", act.Subject, act)
}

// act carries out an action without a memory on all servers, logs it, and returns the answer.
func (a *API) act(r *http.Request, what, key, name string, act *action) (any, error) {
	e, err := a.everywhere(r, act)
	if err != nil && e.Servers == nil {
		return nil, err
	}
	attributes := []any{key, auth.Loggable(name), "connections", e.Connections, "subscriptions", e.Subscriptions, "remote", r.RemoteAddr}
	if e.Servers != nil {
		attributes = append(attributes, "asked", e.Servers.Asked, "answered", e.Servers.Answered)
	}
	a.log.Info(what, attributes...)
	if err != nil {
		return nil, &pubsub.Error{Code: pubsub.Unavailable, Detail: "this was done on this server only, because the others cannot be reached: try again, which is harmless", Err: err}
	}
	return e, nil
}
