package server_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/rawclient"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/server"
)

// How long it takes until a user is disconnected, from the call of the sweep to the close frame,
// while others are connected, each with a token of its own.
func BenchmarkRevokeOneOf(b *testing.B) {
	for _, others := range []int{100, 9000} { // Both ends are in this process: 10,000 do not fit into its descriptors.
		b.Run(fmt.Sprint("connections=", others), func(b *testing.B) {
			s := servertest.Start(b, func(c *config.Serve) { c.MaxConnections = others + 10 })
			connect := func(user string) *rawclient.Conn {
				c, err := rawclient.Dial(s.URL, 0, 20*time.Second)
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { c.Close() })
				if err := c.Upgrade(""); err != nil {
					b.Fatal(err)
				}
				if err := c.Say("/subscribe news " + tokenOf(s, user, "news")); err != nil {
					b.Fatal(err)
				}
				if err := c.Say("/"); err != nil {
					b.Fatal(err)
				}
				if m, err := c.Message(); err != nil || m != "Unknown command" {
					b.Fatal(m, err)
				}
				return c
			}
			for i := range others {
				connect(fmt.Sprint("user ", i))
			}
			var took []time.Duration
			for b.Loop() {
				b.StopTimer()
				victim := connect("victim")
				b.StartTimer()
				begin := time.Now()
				if o, err := server.Control(s.Server).Sweep(b.Context(), func(c *auth.Claims, _ pubsub.Topic) error {
					if c.Subject == "victim" {
						return pubsub.Errorf(pubsub.TokenRevoked, "revoked")
					}
					return nil
				}); err != nil || o.Connections != 1 {
					b.Fatal(o, err)
				}
				if _, err := victim.Message(); err == nil || !strings.Contains(err.Error(), `\x0f\xa3`) {
					b.Fatal(err)
				}
				took = append(took, time.Since(begin))
				b.StopTimer()
				victim.Close()
				b.StartTimer()
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "µs/median")
			b.ReportMetric(float64(took[len(took)-1].Microseconds()), "µs/slowest")
		})
	}
}
