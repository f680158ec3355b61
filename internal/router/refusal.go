package router

import (
	"log/slog"
	"net/http"
	"net/url"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// A detailed error carries keys and values for the log. They do not change what the client
// gets.
type detailed struct {
	error
	attrs []any
}

func (d *detailed) Unwrap() error { return d.error }

// WithDetail returns err with keys and values, in turns, for the log; nil if err is nil.
// Values are strings. The log leaves out empty ones, and what looks like a token.
func WithDetail(err error, attrs ...any) error {
	if err == nil {
		return nil
	}
	return &detailed{err, attrs}
}

// LogRefusal logs that a request was refused, with the details that err has from
// [WithDetail]. The level follows from the code of err; it is Debug if the client has
// gone. path is the path of a known route, else it is empty, and the log shows the
// path of the request.
func LogRefusal(log *slog.Logger, r *http.Request, path string, err error) {
	code := pubsub.Refusal(err).Code
	level := wire.LogLevel(code)
	if r.Context().Err() != nil { // The client went; what failed for that is nobody's fault.
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

// loggablePath returns the path of a request for the log: known, or if that is empty
// the path as it was sent, unless a token hides in it.
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
