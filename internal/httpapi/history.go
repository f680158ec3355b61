package httpapi

import (
	"context"
	"net/http"

	"github.com/ikornaselur/notiflux/internal/answer"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/reading"
	"github.com/ikornaselur/notiflux/internal/resume"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// defaultLimit is how many messages a client gets if it sets no limit.
const defaultLimit = 100

// A historyRequest asks for messages of one topic, oldest first.
type historyRequest struct {
	topic pubsub.Topic
	since pubsub.Position // the first messages after it; without an epoch, the newest messages
	limit int             // of messages
}

// History answers GET /history with messages of a topic and the position from which the
// client can continue reading, or subscribe without a gap. It waits only for the broker.
func (a *API) History(w http.ResponseWriter, r *http.Request) error {
	q, err := a.parseHistory(r)
	if err != nil {
		return err
	}
	if _, err := a.authorizeReader(r, "", q.topic); err != nil {
		return err
	}
	history, err := a.config.Broker.History(r.Context(), q.topic, q.since, q.limit)
	if err != nil {
		return err
	}
	return a.serveAnswer(w, r, func(ctx context.Context) *answer.Answer {
		messages := answer.UpTo(q.limit).Owning(a.config.Unread.Share())
		end := messages.History(ctx, history)
		return messages.Answer(wire.AppendHistoryBodyStart(nil), append(wire.AppendHistoryEnd(nil, end), '\n'))
	})
}

func (a *API) parseHistory(r *http.Request) (h historyRequest, err error) {
	q, err := a.query(r, "topic", "since", "limit")
	if err != nil {
		return historyRequest{}, err
	}
	if !q.Has("topic") {
		return historyRequest{}, pubsub.Errorf(pubsub.Malformed, "`topic` is missing")
	}
	if h.topic, err = pubsub.ParseTopic(q.Get("topic")); err != nil {
		return historyRequest{}, err
	}
	if err := resume.Refuse(q, r.Header); err != nil {
		return historyRequest{}, err
	}
	if since := q.Get("since"); since != "" {
		if h.since, err = pubsub.ParsePosition(since); err != nil {
			return historyRequest{}, resume.WithName("`since`", err)
		}
	}
	h.limit, err = reading.Number(q, "limit", defaultLimit, reading.MaxMessages)
	return h, err
}
