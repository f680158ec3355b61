package server

import (
	"context"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/jwks"
)

// openVerifier creates the verifier, and the source of the identity provider's keys if there
// is one.
func (s *Server) openVerifier(p parsed) {
	c := auth.Config{Keys: p.keys, Issuer: s.config.JWTIssuer, Audience: s.config.JWTAudience, Public: p.public, Now: s.env.Now, MaxLife: s.config.MaxTokenLife,
		Failures: s.limits.failedTokens}
	if p.jwks != (jwks.Address{}) {
		s.jwks = jwks.New(jwks.Config{Address: p.jwks, Transport: s.env.Keys, Log: s.log})
		c.Provider = &auth.Provider{Issuer: s.config.JWKSIssuer, Audience: s.config.JWKSAudience, Source: s.jwks}
	}
	s.verifier = auth.New(c)
}

// keysReady returns why the keys of the identity provider have not been loaded since the
// start, or nil.
func (s *Server) keysReady() error {
	if s.jwks == nil {
		return nil
	}
	return s.jwks.Ready()
}

// provider returns the function for the metrics of the identity provider's keys.
func (s *Server) provider() func() auth.SourceStats {
	if s.jwks == nil {
		return nil
	}
	return s.jwks.Stats
}

// keysEvery is the time between two checks of the file with the public keys. A key that the
// file does not have any more works for that much longer.
const keysEvery = time.Second

// watchKeys reads the file with the public keys again whenever it changes, until ctx ends. If
// the keys are not valid then, the old ones stay in use, with one warning per change.
func (s *Server) watchKeys(ctx context.Context) {
	ticker := time.NewTicker(keysEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if config.VersionOf(s.config.JWTPublicKeyFile) == s.keyFile {
			continue
		}
		keys, version, err := publicKeys(&s.config)
		s.keyFile = version
		if err != nil {
			s.log.Warn("public keys not reloaded; the old ones stay in use", "err", err)
			continue
		}
		s.verifier.SetKeys(keys)
		s.log.Info("public keys reloaded", "file", s.config.JWTPublicKeyFile)
	}
}
