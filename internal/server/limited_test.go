package server

import (
	"testing"
	"testing/synctest"

	"github.com/ikornaselur/notiflux/internal/config"
)

// Each setting limits what it says, and its refusals are counted under its name.
func TestLimitsOfSettings(t *testing.T) {
	const address = "192.0.2.1"
	for setting, test := range map[string]struct {
		set func(*config.Serve)
		use func(*limits) error
	}{
		"limit-connections-per-address":   {func(c *config.Serve) { c.LimitConnectionsPerAddress = 1 }, func(l *limits) error { return l.connections.Take(address) }},
		"limit-requests-per-address":      {func(c *config.Serve) { c.LimitRequestsPerAddress = 1 }, func(l *limits) error { return l.requests.Take(address) }},
		"limit-failed-tokens-per-address": {func(c *config.Serve) { c.LimitFailedTokensPerAddress = 1 }, func(l *limits) error { return l.failedTokens.Take(address) }},
		"limit-commands-per-address":      {func(c *config.Serve) { c.LimitCommandsPerAddress = 1 }, func(l *limits) error { return l.commandsOfAddress.Take(address) }},
		"limit-commands-per-subject":      {func(c *config.Serve) { c.LimitCommandsPerSubject = 1 }, func(l *limits) error { return l.commandsOfUser.TakeUser("", "ann") }},
		"limit-broadcasts-per-address":    {func(c *config.Serve) { c.LimitBroadcastsPerAddress = 1 }, func(l *limits) error { return l.broadcastsOfAddress.Take(address) }},
		"limit-broadcasts-per-subject":    {func(c *config.Serve) { c.LimitBroadcastsPerSubject = 1 }, func(l *limits) error { return l.broadcastsOfUser.TakeUser("", "ann") }},
		"max-connections-per-address":     {func(c *config.Serve) { c.MaxConnectionsPerAddress = 1 }, func(l *limits) error { return l.openOfAddress.Begin(address) }},
		"max-connections-per-subject":     {func(c *config.Serve) { c.MaxConnectionsPerSubject = 1 }, func(l *limits) error { return l.openOfUser.BeginUser("", "ann") }},
	} {
		synctest.Test(t, func(t *testing.T) {
			var c config.Serve
			test.set(&c)
			l := newLimits(&c)
			if first, second := test.use(l), test.use(l); first != nil || second == nil {
				t.Errorf("with %s=1, the first is %v, the second %v", setting, first, second)
			}
			if len(l.refused) != 1 || l.refused[setting] == nil || l.refused[setting]() != 1 {
				t.Errorf("with %s=1, not 1 refusal is counted for it, but %d limits have counters", setting, len(l.refused))
			}
		})
	}
}
