package client_test

import (
	"errors"
	"fmt"
	"runtime"
	"testing"

	"github.com/ikornaselur/notiflux/client"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
)

// A loop that does little loses nothing of a burst that is larger than its queue, also if
// it shares one processor with the goroutine that reads.
func TestBurstIsNotTooFastForALoop(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	s := servertest.Start(t, nil)
	const topics, held = 100, 100
	var names []string
	for n := range topics {
		names = append(names, fmt.Sprint("topic ", n))
	}
	p, err := client.New(s.URL, client.Options{Token: broadcastToken(s, names...)})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var all []client.Publication
	for n := range held * topics {
		all = append(all, client.Publication{Topic: names[n%topics], JSON: n})
	}
	for _, r := range p.PublishAll(t.Context(), all) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	c := connect(t, s.URL, client.Options{Token: subscribeToken(s, names...)}, hurry)
	defer c.Close()
	messages := 0
	for event, err := range c.SubscribeWith(client.SubscribeOptions{Last: held, Buffer: 1000}, names...).Events(t.Context()) {
		if lost, ok := errors.AsType[*client.LostError](err); ok {
			t.Fatalf("after %d messages: %v", messages, lost)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := event.(client.Message); ok {
			if messages++; messages == held*topics {
				return
			}
		}
	}
}
