package session

import (
	"context"
	"log/slog"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// LogRefusal logs that a command, or one topic of it, was refused. claims are those of its
// token, or nil if they are unknown. topic is as the client sent it, or empty.
func (s *Session) LogRefusal(claims *auth.Claims, topic string, err error) {
	code := pubsub.Refusal(err).Code
	level := wire.LogLevel(code)
	if log := s.group.config.Log; log.Enabled(context.Background(), level) {
		log.Log(context.Background(), level, "command refused", append(identity(s, claims, topic), "code", code, "err", err)...)
	}
}

// logEnd logs that the server closes the session, and why.
func logEnd(s *Session, e End) {
	if logs(s) {
		s.group.config.Log.Debug("client disconnected by the server", append(identity(s, nil, ""), "code", e.Code, "close", e.CloseCode, "reason", e.Reason)...)
	}
}

// logMessage logs a message that the client published.
func logMessage(s *Session, claims *auth.Claims, topic pubsub.Topic, position pubsub.Position) {
	if logs(s) {
		s.group.config.Log.Debug("message published", append(identity(s, claims, string(topic)), "position", position.String())...)
	}
}

// LogIgnored logs, once per session, that the client sends messages that its dialect
// ignores but another dialect would handle.
func (s *Session) LogIgnored(hint string) {
	if !logs(s) {
		return
	}
	if x := s.ensureExtra(); !x.ignoredLogged {
		x.ignoredLogged = true
		s.group.config.Log.Debug("message ignored", append(identity(s, nil, ""), "hint", hint)...)
	}
}

// logs reports whether actions of clients are logged.
func logs(s *Session) bool {
	return s.group.config.Log.Enabled(context.Background(), slog.LevelDebug)
}

// identity returns the log attributes of a client and its command: the address, the subject
// if known, and the topic if there is one.
func identity(s *Session, claims *auth.Claims, topic string) []any {
	attrs := []any{"remote", s.conn.Remote()}
	if claims == nil {
		claims = s.extra.token().Claims
	}
	if claims != nil {
		attrs = append(attrs, "subject", auth.Loggable(claims.Subject))
	}
	if topic != "" {
		attrs = append(attrs, "topic", auth.Loggable(topic))
	}
	return attrs
}
