package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"strings"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// joined returns the names of topics for the log.
func joined(topics []pubsub.Topic) string {
	var b strings.Builder
	for i, topic := range topics {
		if i > 0 {
			b.WriteString(" ")
		}
		b.WriteString(topic.Shown())
	}
	return b.String()
}

// logsMessages reports whether each message is logged.
func (a *API) logsMessages(ctx context.Context) bool {
	return a.config.Log.Enabled(ctx, slog.LevelDebug)
}

// logMessage logs a message that was published.
func (a *API) logMessage(r *http.Request, p *pubsub.Publication) {
	a.config.Log.Debug("message published", "topic", auth.Loggable(string(p.Topic)), "position", p.Position.String(), "subject", auth.Loggable(p.Subject), "remote", r.RemoteAddr)
}
