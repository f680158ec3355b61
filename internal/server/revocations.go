package server

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/ikornaselur/notiflux/internal/adminapi"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/revoke"
	"github.com/ikornaselur/notiflux/internal/session"
)

// openRevocations reads the list of revoked tokens. There is none if the server shares its
// broker, because revocations would not reach the other servers.
func (s *Server) openRevocations() error {
	if s.env.Broker != nil {
		return nil
	}
	c := revoke.Config{MaxLife: s.config.MaxTokenLife, Now: s.env.Now}
	if path := s.config.RevocationsFile; path != "" {
		file, entries, err := revoke.OpenFile(path, s.env.Now())
		if err != nil {
			return fmt.Errorf("%s: %w", config.Name("revocations-file"), err)
		}
		c.Store, c.Entries, s.revocationsFile = file, entries, file
	}
	s.revocations = revoke.New(c)
	return nil
}

// revoked returns the function that says which tokens are revoked, or nil if none can be.
func (s *Server) revoked() session.Revoked {
	if s.env.Revoked != nil || s.revocations == nil {
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

// adminAPI returns the handler of the admin API.
func (s *Server) adminAPI() http.Handler {
	c := adminapi.Config{Revocations: s.revocations, Control: s.control, Verifier: unlimited{s.requests}, Now: s.env.Now, Log: s.log}
	if s.config.AdminTokenFile != "" {
		c.Token = func() (string, error) { return adminToken(s.config.AdminTokenFile) }
	} else if s.admin != nil && !isPrivate(s.admin.Addr()) {
		c.Refuse = errAdminToken
	}
	return adminapi.New(c)
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
