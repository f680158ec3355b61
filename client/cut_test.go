package client_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/ikornaselur/notiflux/client"
	"github.com/ikornaselur/notiflux/internal/internaltest/memnet"
)

// At whatever byte a connection breaks, each message is received once and in order.
func TestCutAtAnyByte(t *testing.T) {
	const cuts, perCut = 1000, 20
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		random := rand.New(rand.NewPCG(1, 2))
		var mu sync.Mutex
		broken := 0
		f.open = func(c *memnet.Conn) {
			mu.Lock()
			defer mu.Unlock()
			if broken++; broken > 1 && broken <= cuts {
				c.CutAfter(memnet.Down, random.IntN(4000), memnet.ByClose)
			}
		}
		a := listen(t, f.dial(client.Options{}), topics("a"))
		p := f.accept()
		p.expect(`{"type":"subscribe","id":1,"topics":["a"]}`)
		p.say(subscribedTo(1, "a"))
		a.expect("subscribed a E:0 0 resumed=false")
		p.cut()

		done := make(chan struct{})
		defer close(done)
		go func() {
			for {
				select {
				case p := <-f.peers:
					go replay(p, perCut)
				case <-done:
					return
				}
			}
		}()
		last, disconnected := 0, 0
		for disconnected < cuts/2 {
			got := <-a.events
			switch {
			case strings.HasPrefix(got, "message "):
				last++
				if want := fmt.Sprintf("message a E:%d %d", last, last); got != want {
					t.Fatalf("got %q, want %q", got, want)
				}
			case got == "disconnected":
				disconnected++
			case !strings.HasPrefix(got, "subscribed a E:"):
				t.Fatalf("got %q", got)
			}
		}
		if last < cuts {
			t.Errorf("%d messages in %d connections: the cuts left too little", last, broken)
		}
	})
}

// replay answers the first command, and sends the next n messages after its position.
func replay(p *peer, n int) {
	command, more := <-p.commands
	if !more {
		return
	}
	var c struct{ Since map[string]string }
	if err := json.Unmarshal([]byte(command), &c); err != nil {
		p.t.Error(err)
		return
	}
	offset := 0
	if _, err := fmt.Sscanf(c.Since["a"], "E:%d", &offset); err != nil {
		p.t.Errorf("since is %v", c.Since)
	}
	p.say(fmt.Sprintf(`{"type":"subscribed","id":1,"topics":{"a":{"position":"E:%d","recovered":true,"replay":%d}}}`, offset, n))
	for range n {
		offset++
		p.say(message("a", offset, fmt.Sprint(offset)))
	}
}
