package server_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/delivery"
	"github.com/ikornaselur/notiflux/internal/internaltest/rawclient"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/server"
)

// sweptClient is a client of a user, in one dialect.
type sweptClient struct {
	rawclient.Reader
	user  string
	speak rawclient.Dialect
	conn  *rawclient.Conn
	ended error // of its first connection
}

// While messages are published, one user of many is revoked. No message that is published
// after that reaches a connection of this user, and every other client gets everything: the
// delivery oracle reads what each client saw.
func TestSweepUnderLoad(t *testing.T) {
	seeded()
	const users = 40
	speak := []rawclient.Dialect{rawclient.JSON, rawclient.Events, rawclient.NDJSON}
	for _, loops := range []string{"auto", "portable"} {
		t.Run("loops="+loops, func(t *testing.T) {
			const victim = "user 7"
			var revoked atomic.Bool
			check := func(c *auth.Claims, _ pubsub.Topic) error {
				if revoked.Load() && c.Subject == victim {
					return pubsub.Errorf(pubsub.TokenRevoked, "the token was revoked")
				}
				return nil
			}
			s := servertest.StartIn(t, server.Environment{Revoked: check}, func(c *config.Serve) { c.Loops = loops; c.HistoryMessages = 1_000_000 })
			recorder := new(delivery.Recorder)
			p := newPress(t, s, recorder)

			var clients []*sweptClient
			var running sync.WaitGroup
			for i := range users * len(speak) {
				c := &sweptClient{user: fmt.Sprint("user ", i%users), speak: speak[i/users]}
				c.Topics, c.Token = cutTopics, tokenOf(s, c.user, cutTopics...)
				c.Random, c.Recording = rand.New(rand.NewPCG(*seed, uint64(i))), recorder.Client(fmt.Sprint(c.user, " ", i))
				conn, err := rawclient.Dial(s.URL, 0, 20*time.Second)
				if err != nil {
					t.Fatal(err)
				}
				c.conn = conn
				clients = append(clients, c)
				running.Go(func() { c.ended = c.Follow(conn, c.speak) })
			}
			waitFor(t, s, len(clients))
			p.begin()
			p.await(100)
			revoked.Store(true)
			if _, err := server.Control(s.Server).Sweep(t.Context(), check); err != nil {
				t.Error(err)
			}
			swept := recorder.Now()
			p.await(200)
			goal := p.end()
			for _, c := range clients {
				if c.user != victim {
					c.conn.Close()
				}
			}
			running.Wait() // The server has ended those of the victim.

			for _, c := range clients {
				if c.user == victim {
					c.conn.Close()
					if c.ended == nil {
						t.Errorf("a connection of %s has no end", c.user)
					}
					continue
				}
				running.Go(func() {
					conn, err := rawclient.Dial(s.URL, 0, 20*time.Second)
					if err != nil {
						t.Error(err)
						return
					}
					defer conn.Close()
					c.Goal = goal
					if err := c.Follow(conn, c.speak); err != nil || c.Lost > 0 {
						t.Errorf("%s: %v, %d topics were lost", c.user, err, c.Lost)
					}
				})
			}
			running.Wait()
			log := recorder.Log(1_000_000)
			log.Behind = servertest.Remote()
			delivery.Report(t, *seed, log)
			later := make(map[string]bool)
			for _, m := range log.Publishes {
				later[m.Data] = m.Called > swept
			}
			for i, c := range log.Clients {
				for _, e := range c.Events {
					if clients[i].user == victim && e.Kind == delivery.Message && later[e.Data] {
						t.Errorf("%s got a message that was published after the sweep", c.Name)
					}
				}
			}
		})
	}
}
