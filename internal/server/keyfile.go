package server

import (
	"context"
	"time"

	"github.com/ikornaselur/notiflux/internal/config"
)

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
