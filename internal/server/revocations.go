package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/ikornaselur/notiflux/internal/adminapi"
	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/control"
	"github.com/ikornaselur/notiflux/internal/explain"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/revoke"
	"github.com/ikornaselur/notiflux/internal/session"
)

// openRevocations opens the file with the revoked tokens, if there is one.
func (s *Server) openRevocations() error {
	path := s.config.RevocationsFile
	if path == "" || s.env.Broker != nil {
		return nil
	}
	file, entries, err := revoke.OpenFile(path, s.env.Now())
	if err != nil {
		return fmt.Errorf("%s: %w", config.Name("revocations-file"), err)
	}
	s.revocationsFile, s.revocationsRead = file, entries
	return nil
}

// listRevocations creates the list of revoked tokens, which servers that share a broker share,
// too.
func (s *Server) listRevocations() {
	c := revoke.Config{MaxLife: s.config.MaxTokenLife, Now: s.env.Now, Entries: s.revocationsRead}
	shared, ok := s.broker.(broker.Shared)
	switch {
	case ok:
		c.Shared = shared
	case s.revocationsFile != nil:
		c.Store = s.revocationsFile
	}
	s.revocations, s.revocationsRead = revoke.New(c), nil
	if ok {
		shared.Operate(broker.Operator{Most: revoke.MaxEntries, Learn: s.learnRevocations, Known: s.revocations.Texts, Answer: s.answerServer})
	}
}

// learnRevocations takes revocations of the broker, and has what lives by the tokens ended.
func (s *Server) learnRevocations(texts []string) (outdated []string) {
	news, outdated, err := s.revocations.Learn(texts)
	if err != nil {
		s.log.Error("the broker has a revocation that this server cannot read, and so does not apply", "err", err)
	}
	if news > 0 && s.sweeping.CompareAndSwap(false, true) {
		s.operating.Submit(s.sweepRevoked)
	}
	return outdated
}

// sweepRevoked ends what lives by tokens that are revoked by now.
func (s *Server) sweepRevoked(ctx context.Context) {
	s.sweeping.Store(false)
	if o, err := s.control.Sweep(ctx, s.revoked()); err != nil {
		s.log.Debug("revoked tokens were not swept", "err", err)
	} else if o != (control.Outcome{}) {
		s.log.Info("revoked tokens learned from the broker", "connections", o.Connections, "subscriptions", o.Subscriptions)
	}
}

// answerServer has a request of another server carried out.
func (s *Server) answerServer(request []byte, answer func([]byte)) {
	s.operating.Submit(func(ctx context.Context) { answer(s.operator.Perform(ctx, request)) })
}

// revoked returns the function that says which tokens are revoked.
func (s *Server) revoked() session.Revoked {
	if s.env.Revoked != nil {
		return s.env.Revoked
	}
	return s.revocations.Check
}

// closeRevocations releases the file of the list.
func (s *Server) closeRevocations() {
	if s.revocationsFile != nil {
		_ = s.revocationsFile.Close() // everything in it is synchronised
	}
}

// openAdminAPI creates the admin API.
func (s *Server) openAdminAPI() {
	c := adminapi.Config{Revocations: s.revocations, Control: s.control, Verifier: unlimited{s.requests}, Now: s.env.Now, Log: s.log}
	if shared, ok := s.broker.(broker.Shared); ok {
		c.Others = shared.Ask
	}
	for _, issuer := range []string{s.config.JWTIssuer, s.config.JWKSIssuer} {
		if issuer != "" {
			c.Issuers = append(c.Issuers, issuer)
		}
	}
	c.Settings = s.explainSettings
	if s.config.AdminTokenFile != "" {
		c.Token = func() (string, error) { return adminToken(s.config.AdminTokenFile) }
	} else if s.admin != nil && !isPrivate(s.admin.Addr()) {
		c.Refuse = errAdminToken
		s.log.Info("the admin API is off, because others than this machine can reach the admin listener", "setting", config.Name("admin-token-file"))
	}
	s.operator = adminapi.New(c)
}

// explainSettings returns the settings of a topic.
func (s *Server) explainSettings(name pubsub.Topic) *explain.Settings {
	t := s.perTopic.ForTopic(name)
	shown := &explain.Settings{Section: t.Section, At: t.At, Presence: t.Presence, MaxMessageBytes: uint64(t.MaxMessageBytes)}
	if t.History {
		shown.History = &explain.History{Messages: t.HistoryMessages, Bytes: uint64(t.HistoryBytes), Age: t.HistoryAge.String()}
	}
	return shown
}

var errAdminToken = pubsub.Errorf(pubsub.NotFound, "the admin API is off, because others than this machine can reach this listener: set %s to a file with a secret", config.Name("admin-token-file"))

// isPrivate reports whether only programs on this machine can connect to an address.
func isPrivate(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return !ok || tcp.IP.IsLoopback()
}

// minAdminToken is the length below which a secret can be guessed.
const minAdminToken = 16

// adminToken reads the token of the admin API. Errors begin with the setting.
func adminToken(path string) (string, error) {
	setting := config.Name("admin-token-file")
	data, err := config.ReadRegular(path, config.MaxFileBytes)
	if err != nil {
		return "", fmt.Errorf("%s: %w", setting, err)
	}
	token := string(bytes.TrimSpace(data))
	switch {
	case len(token) < minAdminToken:
		return "", fmt.Errorf("%s: %s has %d bytes: write at least %d random ones into it, for example with `openssl rand -hex 32`", setting, path, len(token), minAdminToken)
	case bytes.ContainsAny([]byte(token), " \t\r\n"):
		return "", errors.New(setting + ": " + path + " has white space inside of the token: write one token into it, without white space")
	}
	return token, nil
}
