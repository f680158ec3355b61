package session

import (
	"context"
	"log/slog"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// logRefusal logs that a command, or one topic of it, was refused. claims are those of its
// token, nil if they are unknown. topic is as the client sent it, empty without one.
func (s *Session) logRefusal(claims *auth.Claims, topic string, err error) {
	code := notiflux.Refusal(err).Code
	level := wire.LogLevel(code)
	if log := s.group.config.Log; log.Enabled(context.Background(), level) {
		log.Log(context.Background(), level, "command refused", append(s.identity(claims, topic), "code", code, "err", err)...)
	}
}

// logClose logs that the server closes the session, and why.
func (s *Session) logClose(e closeReason) {
	if s.logs() {
		s.group.config.Log.Debug("client sent away", append(s.identity(nil, ""), "code", e.errorCode, "close", e.closeCode, "reason", e.reason)...)
	}
}

// logMessage logs a message that the client published.
func (s *Session) logMessage(claims *auth.Claims, topic notiflux.Topic, position notiflux.Position) {
	if s.logs() {
		s.group.config.Log.Debug("message ordered", append(s.identity(claims, string(topic)), "position", position.String())...)
	}
}

// logIgnored logs, once per session, that a client of the text protocol sends messages
// that this protocol ignores and another one would not.
func (s *Session) logIgnored(hint string) {
	if s.logs() && !s.hintLogged {
		s.hintLogged = true
		s.group.config.Log.Debug("message ignored", append(s.identity(nil, ""), "hint", hint)...)
	}
}

// logs reports whether actions of clients are logged.
func (s *Session) logs() bool {
	return s.group.config.Log.Enabled(context.Background(), slog.LevelDebug)
}

// identity returns the log attributes of a client and its command: the address, the
// subject if it is known, and the topic if there is one.
func (s *Session) identity(claims *auth.Claims, topic string) []any {
	attrs := []any{"remote", s.conn.Remote()}
	if claims == nil && s.json != nil {
		claims = s.json.claims
	}
	if claims != nil {
		attrs = append(attrs, "subject", auth.Loggable(claims.Subject))
	}
	if topic != "" {
		attrs = append(attrs, "topic", auth.Loggable(topic))
	}
	return attrs
}
