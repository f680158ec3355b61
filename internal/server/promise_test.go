package server_test

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/delivery"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// epoch returns the epoch of a server's positions.
func epoch(t *testing.T, s *servertest.Server) string {
	t.Helper()
	name, _, _ := strings.Cut(mustRead(t, s, "/history?topic=left&limit=0", "left").Position, ":")
	return name
}

// After a restart, the server tells every client that resumes from a position of the
// earlier epoch, in each dialect, even if nothing has been published since.
func TestRestartIsReported(t *testing.T) {
	seeded()
	for _, d := range dialects {
		t.Run(d.name, func(t *testing.T) {
			onBothLoops(t, func(t *testing.T, start starter) {
				recorder := new(delivery.Recorder)
				clients := make([]*cutClient, cutClients)
				for i := range clients {
					clients[i] = newCutClient(t, recorder, i)
				}
				for _, publishes := range []int{50, 0, 50} {
					s := start(func(c *config.Serve) { c.HistoryMessages, c.HistoryBytes = 1_000_000, c.HistoryTotalBytes })
					recorder.Epoch(epoch(t, s))
					p := newPress(t, s, recorder)
					p.name = s.URL
					goal := make(map[pubsub.Topic]pubsub.Position) // where nothing is published, the answer is enough
					if publishes > 0 {
						p.begin()
						p.await(publishes)
						goal = p.end()
					}
					var wg sync.WaitGroup
					for _, c := range clients {
						c.url, c.Token = s.URL, s.Token(auth.Subscribe, cutTopics...)
						had, lost := len(c.Positions), c.Lost
						wg.Go(func() {
							if c.connect(d.speak, goal); c.Lost-lost != had {
								t.Errorf("not recovered in %d topics, want %d", c.Lost-lost, had)
							}
						})
					}
					wg.Wait()
					if err := s.Stop(); err != nil {
						t.Error(err)
					}
				}
				log := recorder.Log(1_000_000)
				log.Behind = servertest.Remote()
				delivery.Report(t, *seed, log)
			})
		})
	}
}

// The server's counters match what its publishers and clients saw.
func TestCountersAddUp(t *testing.T) {
	seeded()
	onBothLoops(t, func(t *testing.T, start starter) {
		s := start(func(c *config.Serve) { c.PresenceGrace = testGrace })
		recorder := new(delivery.Recorder)
		all, stay := invite(t, []*servertest.Server{s}, recorder, guests)
		p := newPress(t, s, recorder)
		p.rate = 10 * guestRate
		gatherAll(t, s, all, func() {
			p.begin()
			p.await(200)
			p.end()
			for i := range 20 { // each message twice
				answered := recorder.PublishingKey("left", fmt.Sprint("keyed ", i/2), fmt.Sprint("k", i/2))
				status, answer := broadcast(t, s, fmt.Sprintf(`{"topic":"left","message":"keyed %d","key":"k%d"}`, i/2, i/2), "Authorization", "Bearer "+s.Token(auth.Broadcast, "left"))
				_, position, _ := strings.Cut(answer, `"position":"`)
				at, err := pubsub.ParsePosition(strings.TrimSuffix(position, `"}`))
				if err != nil || status != 200 {
					t.Errorf("%d %s, %v", status, answer, err)
				}
				answered(delivery.Acknowledged, at)
			}
			<-time.After(settled)
			close(stay)
		})
		log := recorder.Log(0)
		// Guests got everything before they left, so nothing was in flight when they ended.
		for i, c := range log.Clients {
			log.Clients[i].Events = c.Events[:len(c.Events)-2]
		}
		log.GracePeriod = testGrace
		log.Counters = &delivery.Counters{
			Broadcasts: counter(t, s, `notiflux_broadcasts_total{result="accepted"}`),
			Messages:   counter(t, s, "notiflux_messages_total"),
			Deliveries: counter(t, s, "notiflux_deliveries_total"),
			TooSlow:    counter(t, s, `notiflux_closes_total{code="4202"}`),
		}
		log.Behind = servertest.Remote()
		delivery.Report(t, *seed, log)
		t.Logf("-seed=%d: %+v", *seed, *log.Counters)
	})
}

// counter returns a metric of the server.
func counter(t *testing.T, s *servertest.Server, name string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(metric(t, s, name), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// One counter assigns all offsets (docs/security.md says what that reveals). So a position
// never matches another topic or a topic that was dropped.
func TestOffsetsCountAllTopics(t *testing.T) {
	s := servertest.Start(t, nil)
	offset := func(position string) int {
		_, text, _ := strings.Cut(position, ":")
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := s.Broadcast("a", "before")
	var other string
	for range 10 {
		other = s.Broadcast("b", "not for a")
	}
	after := s.Broadcast("a", "after")
	if got := offset(after) - offset(before); got < 11 || got > 11 && !servertest.Remote() {
		t.Errorf("two offsets of a are %d apart, want 11: one, and the ten of b; more only if the offsets are times", got)
	}
	for _, since := range []string{before, other} {
		page := mustRead(t, s, "/history?topic=a&since="+since, "a")
		if page.texts() != "after" || !page.Recovered {
			t.Errorf("since %s: %q, recovered %v; want the later messages of a", since, page.texts(), page.Recovered)
		}
	}
}
