//go:build linux

package bench_test

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/internaltest/frametest"
)

var (
	neighbours = flag.Int("neighbours", 100, "subscribers of the topic, or unread clients, that a ping is measured beside; RESULTS.md has 8,000")
	pings      = flag.Int("pings", 20, "pings in each measurement of fairness; RESULTS.md has 1,000")
)

// betweenPings keeps a pinger within the commands that a client may send.
const betweenPings = 11 * time.Millisecond

// A pinger measures how long a server takes to answer a command of a client that asks
// for nothing else.
type pinger struct {
	t *testing.T
	c net.Conn
}

func newPinger(t *testing.T, p *process) *pinger {
	t.Helper()
	c, err := p.connect(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &pinger{t, c}
}

// ping returns the time to the answer.
func (p *pinger) ping() time.Duration {
	p.t.Helper()
	began := time.Now()
	if err := frametest.WriteText(p.c, "/"); err != nil {
		p.t.Fatal(err)
	}
	if answer, err := frametest.ReadText(p.c); err != nil || answer != "Unknown command" {
		p.t.Fatalf("%q, %v", answer, err)
	}
	return time.Since(began)
}

// measure pings, each time after something else happened, and reports the delays.
func (p *pinger) measure(beside string, happen func(i int)) {
	p.t.Helper()
	var delays []time.Duration
	for i := range *pings {
		happen(i)
		delays = append(delays, p.ping())
	}
	slices.Sort(delays)
	p.t.Logf("a command %s: median %v, p99 %v, most %v", beside, delays[len(delays)/2], delays[len(delays)*99/100], delays[len(delays)-1])
}

func pause(int) { <-time.After(betweenPings) }

// How long a client waits for an answer while others keep the server busy. The server
// has one core, as everywhere in RESULTS.md.
func TestFairness(t *testing.T) {
	t.Setenv("GOMAXPROCS", "1")
	t.Run("large topic", besideALargeTopic)
	t.Run("flood", besideAFlood)
	t.Run("compressed flood", besideACompressedFlood)
	t.Run("never reads", besideClientsThatNeverRead)
}

// besideALargeTopic pings while a message goes out to all subscribers of a topic. What
// they are sent fits into their sockets, so nobody has to read it.
func besideALargeTopic(t *testing.T) {
	p := serve(t)
	subscribe, broadcast := p.token(t, auth.Subscribe, "t"), p.token(t, auth.Broadcast, "t")
	for range *neighbours {
		p.subscribe(t, subscribe, 0)
	}
	pinger := newPinger(t, p)
	pinger.measure("while quiet", pause)
	deliveries := *neighbours
	pinger.measure(fmt.Sprintf("beside a message to %d subscribers", *neighbours), func(i int) {
		for i > 0 && p.metric(t, "notiflux_deliveries_total") < deliveries*i {
			pause(i)
		}
		p.post(t, broadcast, "t", strings.Repeat("x", 100))
		<-time.After(2 * time.Millisecond) // The delivery has begun.
	})
}

// besideAFlood pings while a stranger without a token sends messages that mean nothing.
func besideAFlood(t *testing.T) {
	p := serve(t)
	pinger := newPinger(t, p)
	pinger.measure("while quiet", pause)
	flood(t, p, bytes.Repeat(frametest.Text("x"), 10_000))
	pinger.measure("beside a flood of ignored messages", pause)
}

// besideACompressedFlood is besideAFlood with messages of 79 bytes that inflate to 65,536.
func besideACompressedFlood(t *testing.T) {
	p := serve(t, "--compression")
	pinger := newPinger(t, p)
	pinger.measure("while quiet", pause)
	message := frametest.Frame(0xc1, frametest.Deflate(strings.Repeat("x", 64<<10)))
	flood(t, p, bytes.Repeat(message, 1000), "Sec-WebSocket-Extensions: permessage-deflate\r\n")
	pinger.measure(fmt.Sprintf("beside a flood of messages of %d bytes that inflate to 64 KiB", len(message)), pause)
}

// flood writes frames from one client for as long as the test goes on.
func flood(t *testing.T, p *process, frames []byte, more ...string) {
	t.Helper()
	c, err := p.connect(0, more...)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			if _, err := c.Write(frames); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		c.Close()
		<-done
	})
}

// besideClientsThatNeverRead pings while subscribers that never read are sent more than
// their sockets take.
func besideClientsThatNeverRead(t *testing.T) {
	p := serve(t)
	subscribe, broadcast := p.token(t, auth.Subscribe, "t"), p.token(t, auth.Broadcast, "t")
	for range *neighbours {
		p.subscribe(t, subscribe, 4<<10)
	}
	pinger := newPinger(t, p)
	pinger.measure("while quiet", pause)
	message := strings.Repeat("x", 10_000)
	for range 50 { // Past what the kernel takes.
		p.post(t, broadcast, "t", message)
	}
	pinger.measure(fmt.Sprintf("beside %d subscribers that read nothing", *neighbours), func(i int) {
		pause(i)
		p.post(t, broadcast, "t", message)
	})
}

// post publishes a message.
func (p *process) post(t *testing.T, token, topic, message string) {
	t.Helper()
	body := fmt.Sprintf(`{"topic":%q,"message":%q,"token":%q}`, topic, message, token)
	r, err := http.Post(p.url+"/broadcast", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if answer, _ := io.ReadAll(r.Body); r.StatusCode != http.StatusOK {
		t.Fatalf("broadcast: %s %s", r.Status, answer)
	}
}
