package httpapi

import (
	"context"
	"net/http"

	"github.com/ikornaselur/notiflux/internal/answer"
	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/router"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// Presence answers GET /presence with up to 1,000 members of a topic, their number, and the
// number of subscriptions.
func (a *API) Presence(w http.ResponseWriter, r *http.Request) error {
	q, err := a.query(r, "topic")
	if err != nil {
		return err
	}
	if !q.Has("topic") {
		return pubsub.Errorf(pubsub.Malformed, "`topic` is missing")
	}
	topic, err := pubsub.ParseTopic(q.Get("topic"))
	if err != nil {
		return err
	}
	claims, err := a.authorizeReader(r, "", topic)
	if err != nil {
		return err
	}
	if err := claims.NeedUser(); err != nil {
		return err
	}
	roster := broker.Roster{Topics: a.config.Topics, Presence: a.config.Presence, Attacher: a.config.Attacher}
	p, err := roster.Read(r.Context(), topic)
	if err != nil {
		return router.WithDetail(err, "topic", string(topic), "subject", claims.Subject)
	}
	return a.serveAnswer(w, r, func(context.Context) *answer.Answer {
		return answer.ForMembers(wire.AppendPresenceBodyStart(nil, p), p.Members, []byte(wire.PresenceEnd+"\n"))
	})
}
