package adminapi

import (
	"context"
	"net/http"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/control"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/revoke"
)

// The kinds of actions.
const (
	doRevoke               = "revoke"
	doDisconnect           = "disconnect"
	doDisconnectConnection = "disconnect connection"
	doUnsubscribe          = "unsubscribe"
	doSubscribe            = "subscribe"
)

// An action is what an operator wants of every server. Its JSON goes from the server that was
// asked to the others.
type action struct {
	Do          string            `json:"do"`
	Subject     string            `json:"sub,omitzero"`
	Issuer      string            `json:"issuer,omitzero"`
	Connection  pubsub.Connection `json:"connection,omitzero"`
	Topics      []pubsub.Topic    `json:"topics,omitempty"`
	Patterns    []pubsub.Pattern  `json:"patterns,omitempty"`
	Revocations []jsontext.Value  `json:"revocations,omitempty"` // that are stored
}

// outcome is what an action changed on one server.
type outcome struct {
	Connections   int `json:"connections"`
	Subscriptions int `json:"subscriptions"`
}

// ended says what an action changed on all servers that answered.
type ended struct {
	outcome `json:",inline"`
	Servers *servers `json:"servers,omitempty"` // nil: this server shares its broker with no other
}

// servers says how many servers there are, as far as is known.
type servers struct {
	Asked    int `json:"asked,omitzero"` // 0: not known
	Answered int `json:"answered"`
}

// perform carries out an action on this server.
func (a *API) perform(ctx context.Context, act *action) (o outcome, err error) {
	var changed control.Outcome
	c := a.config.Control
	user := revoke.Entry{Subject: act.Subject, Issuer: act.Issuer}
	switch act.Do {
	case doRevoke:
		changed, err = a.applyRevocations(ctx, act.Revocations)
	case doDisconnect:
		changed, err = c.Disconnect(ctx, user.MatchesToken)
	case doDisconnectConnection:
		changed, err = c.DisconnectConnection(ctx, act.Connection)
	case doUnsubscribe:
		patterns := pubsub.NewPatterns(act.Patterns)
		changed, err = c.Unsubscribe(ctx, user.MatchesToken, func(name pubsub.Topic) bool {
			return slices.Contains(act.Topics, name) || patterns.Match(name)
		})
	case doSubscribe:
		changed, err = c.Subscribe(ctx, user.MatchesToken, act.Topics)
	default:
		err = pubsub.Errorf(pubsub.Malformed, "this server does not know the action %q", act.Do)
	}
	return outcome(changed), err
}

// applyRevocations makes revocations that are stored effective, and ends what lives by the
// tokens.
func (a *API) applyRevocations(ctx context.Context, all []jsontext.Value) (control.Outcome, error) {
	texts := make([]string, len(all))
	for i, v := range all {
		texts[i] = string(v)
	}
	if _, _, err := a.config.Revocations.Learn(texts); err != nil {
		return control.Outcome{}, err
	}
	these := revoke.New(revoke.Config{Now: a.config.Now})
	if _, _, err := these.Learn(texts); err != nil {
		return control.Outcome{}, err
	}
	return a.config.Control.Sweep(ctx, these.Check)
}

// Perform carries out an action that another server was asked for. It returns the answer to that
// server, or nil if the action failed.
func (a *API) Perform(ctx context.Context, request []byte) []byte {
	var act action
	err := json.Unmarshal(request, &act)
	var o outcome
	if err == nil {
		o, err = a.perform(ctx, &act)
	}
	if err != nil {
		a.log.Warn("an action that another server asked for failed", "action", auth.Loggable(act.Do), "err", err)
		return nil
	}
	answer, err := json.Marshal(o)
	if err != nil {
		a.log.Warn("an action that another server asked for failed", "action", act.Do, "err", err)
		return nil
	}
	a.log.Info("action that another server asked for", "action", act.Do, "connections", o.Connections, "subscriptions", o.Subscriptions)
	return answer
}

// everywhere carries out an action on this server, and then on all others. If these cannot be
// reached, it returns what has changed on this one, and the error.
func (a *API) everywhere(r *http.Request, act *action) (e ended, err error) {
	if e.outcome, err = a.perform(r.Context(), act); err != nil || a.config.Others == nil {
		return e, err
	}
	request, err := json.Marshal(act)
	if err != nil {
		return e, err
	}
	e.Servers = &servers{Answered: 1}
	answers, others, err := a.config.Others(r.Context(), request)
	if err != nil {
		return e, err
	}
	e.Servers.Asked = 1 + others
	for _, answer := range answers {
		var o outcome
		if len(answer) == 0 || json.Unmarshal(answer, &o) != nil {
			continue // It failed, or another version has sent it.
		}
		e.Connections += o.Connections
		e.Subscriptions += o.Subscriptions
		e.Servers.Answered++
	}
	return e, nil
}
