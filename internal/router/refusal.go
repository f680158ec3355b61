package router

import (
	"log/slog"
	"net/http"
	"net/url"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// A detailed error carries keys and values for the log. Clients do not see them.
type detailed struct {
	error
	attrs []any
}

func (d *detailed) Unwrap() error { return d.error }

// WithDetail returns err with attrs for the log: alternating keys and values, like the
// arguments of [slog.Logger.Info]. It returns nil if err is nil. Values must be strings.
// The log omits empty ones, and hides anything that looks like a token.
func WithDetail(err error, attrs ...any) error {
	if err == nil {
		return nil
	}
	return &detailed{err, attrs}
}

// LogRefusal logs that the server refused a request, with the details that [WithDetail]
// added to err. The code of err determines the level; it is Debug if the client has
// disconnected. path is that of a known route. If it is empty, the log shows the path of
// the request.
func LogRefusal(log *slog.Logger, r *http.Request, path string, err error) {
	code := pubsub.Refusal(err).Code
	level := wire.LogLevel(code)
	if r.Context().Err() != nil { // the client disconnected, so the error may only be a consequence
		level = slog.LevelDebug
	}
	if !log.Enabled(r.Context(), level) {
		return
	}
	attrs := []any{"method", auth.Loggable(r.Method), "path", loggablePath(r, path), "code", code, "remote", r.RemoteAddr}
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

// loggable returns keys and values without empty values. It hides what looks like a token.
func loggable(attrs []any) (kept []any) {
	for i := 0; i < len(attrs); i += 2 {
		if s, ok := attrs[i+1].(string); ok && s != "" {
			kept = append(kept, attrs[i], auth.Loggable(s))
		}
	}
	return kept
}

// loggablePath returns the path of a request for the log. That is known, or if known is
// empty the path as the client sent it, with anything that looks like a token hidden.
func loggablePath(r *http.Request, known string) string {
	if known != "" {
		return known
	}
	requested := r.URL.EscapedPath()
	if plain, err := url.PathUnescape(requested); err != nil || plain != requested && auth.Loggable(plain) != plain {
		return auth.Loggable(plain)
	}
	return auth.Loggable(requested)
}
