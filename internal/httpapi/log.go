package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// A detailed error says for the log what a refusal is about. What a stranger is told
// stays the same.
type detailed struct {
	error
	attrs []any
}

func (d *detailed) Unwrap() error { return d.error }

// withDetail returns err with keys and values for the log; nil if err is. Empty values
// are left out.
func withDetail(err error, attrs ...any) error {
	if err == nil {
		return nil
	}
	return &detailed{err, attrs}
}

// logRefusal tells operators of a request that was refused, as loudly as it concerns
// them. path is as [loggablePath] returns it.
func logRefusal(log *slog.Logger, r *http.Request, path string, err error) {
	code := notiflux.Refusal(err).Code
	level := wire.LogLevel(code)
	if r.Context().Err() != nil { // The client went; what failed for that is nobody's fault.
		level = slog.LevelDebug
	}
	if !log.Enabled(r.Context(), level) {
		return
	}
	attrs := []any{"method", auth.Loggable(r.Method), "path", path, "code", code, "remote", r.RemoteAddr}
	for e := err; e != nil; {
		switch d := e.(type) {
		case *detailed:
			attrs, e = append(attrs, loggable(d.attrs)...), d.error
		case interface{ Unwrap() error }:
			e = d.Unwrap()
		default:
			e = nil
		}
	}
	log.Log(r.Context(), level, "request refused", append(attrs, "err", err)...)
}

// loggable returns keys and values without those that say nothing, and without what
// looks like a token.
func loggable(attrs []any) (kept []any) {
	for i := 0; i < len(attrs); i += 2 {
		if s, ok := attrs[i+1].(string); ok && s != "" {
			kept = append(kept, attrs[i], auth.Loggable(s))
		}
	}
	return kept
}

// loggablePath returns the path of a request for the log. One that is not ours is
// shown as it was sent, unless a token hides in it.
func loggablePath(r *http.Request, p *path) string {
	if p != nil {
		return p.name
	}
	requested := r.URL.EscapedPath()
	if plain, err := url.PathUnescape(requested); err != nil || plain != requested && auth.Loggable(plain) != plain {
		return auth.Loggable(plain)
	}
	return auth.Loggable(requested)
}

// joined returns the names of topics for the log.
func joined(topics []notiflux.Topic) string {
	var b strings.Builder
	for i, topic := range topics {
		if i > 0 {
			b.WriteString(" ")
		}
		b.WriteString(string(topic))
	}
	return b.String()
}

// logsMessages reports whether each message is to be logged.
func (a *API) logsMessages(ctx context.Context) bool { return a.log.Enabled(ctx, slog.LevelDebug) }

// logMessage logs a message that was ordered.
func (a *API) logMessage(r *http.Request, p *notiflux.Publication) {
	a.log.Debug("message ordered", "topic", auth.Loggable(string(p.Topic)), "position", p.Position.String(), "subject", auth.Loggable(p.Subject), "remote", r.RemoteAddr)
}
