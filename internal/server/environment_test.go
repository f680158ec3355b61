package server_test

import (
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/internaltest/memnet"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
	"github.com/ikornaselur/notiflux/internal/server"
)

// Tokens and the times of messages follow the clock of the environment.
func TestClockOfTheEnvironment(t *testing.T) {
	var ahead atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	s := servertest.StartIn(t, server.Environment{Now: now}, nil)
	token := s.Token(auth.Subscribe, "t")
	history := func() reading {
		return read(s.HTTP, s.URL, "GET", "/history?topic=t&last=1", "Authorization", "Bearer "+token)
	}
	if a := history(); a.err != nil || a.status != http.StatusOK {
		t.Errorf("%d, %v", a.status, a.err)
	}
	ahead.Store(int64(2 * time.Hour))
	if a := history(); a.status != http.StatusUnauthorized {
		t.Errorf("an hour after the token expired: %d, %v", a.status, a.err)
	}
}

// With the same source of randomness, a server starts with the same epoch, on in-memory
// listeners as on real ones.
func TestRandomnessOfTheEnvironment(t *testing.T) {
	servertest.NotOnRedis(t, "the epoch comes from the seed of the server")
	epochs := make(map[string]bool)
	for seed := range uint64(3) {
		for range 2 {
			n := memnet.New()
			l, err := n.Listen("10.0.0.1:80")
			if err != nil {
				t.Fatal(err)
			}
			s := servertest.StartIn(t, server.Environment{Random: rand.NewPCG(seed, 0), Loops: 3, Public: l}, nil)
			s.HTTP.Transport.(*http.Transport).DialContext = n.Link(memnet.LinkConfig{}).DialContext
			if s.URL != "http://10.0.0.1:80" || s.AdminURL != "" {
				t.Errorf("the server listens on %s, its admin listener on %q", s.URL, s.AdminURL)
			}
			epoch, _, _ := strings.Cut(s.Broadcast("t", 1), ":")
			epochs[epoch] = true
			if err := s.Stop(); err != nil {
				t.Error(err)
			}
		}
	}
	if len(epochs) != 3 {
		t.Errorf("three seeds, each twice, began the epochs %v", epochs)
	}
}
