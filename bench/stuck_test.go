//go:build linux

package bench_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/internaltest/frametest"
)

var consumers = flag.Int("consumers", 100, "stuck consumers; RESULTS.md has 1,000")

// kernelKilobytes returns what the system's TCP sockets hold.
func kernelKilobytes(t *testing.T) int {
	t.Helper()
	stat, err := os.ReadFile("/proc/net/sockstat")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), "TCP:")
	_, rest, _ = strings.Cut(rest, " mem ")
	pages, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize() >> 10
}

const messageBytes = 1000

// publish sends n messages, each when every reader has the one before, and
// returns the latencies to the readers.
func (p *process) publish(t *testing.T, token string, from, n int, readers []net.Conn) (latencies []time.Duration) {
	t.Helper()
	padding := strings.Repeat("x", messageBytes)
	client := &http.Client{}
	defer client.CloseIdleConnections()
	for i := from; i < from+n; i++ {
		message := fmt.Sprint(i, " ", padding)[:messageBytes]
		body := fmt.Sprintf(`{"topic":"t","message":%q,"token":%q}`, message, token)
		began := time.Now()
		r, err := client.Post(p.url+"/broadcast", "application/json", strings.NewReader(body))
		if err != nil || r.StatusCode != http.StatusOK {
			t.Fatalf("broadcast %d: %v, %v", i, r, err)
		}
		io.Copy(io.Discard, r.Body)
		r.Body.Close()
		for _, c := range readers {
			if data, err := frametest.ReadText(c); err != nil || data != message {
				t.Fatalf("message %d: got %.20q, %v", i, data, err)
			}
			latencies = append(latencies, time.Since(began))
		}
	}
	return latencies
}

func p99(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)*99/100]
}

// Consumers that stop reading cost next to nothing, delay nobody, and when they
// read again have everything in order up to where they were told, or cut.
func TestStuckConsumers(t *testing.T) {
	p := serve(t)
	subscribe, broadcast := p.token(t, auth.Subscribe, "t"), p.token(t, auth.Broadcast, "t")
	var stuck, readers []net.Conn
	for range *consumers {
		stuck = append(stuck, p.subscribe(t, subscribe, 4<<10))
	}
	for range 5 {
		readers = append(readers, p.subscribe(t, subscribe, 0))
	}
	// The first messages fill what the kernel takes of each, so that what
	// follows waits in the server. Their latencies are those without waiting.
	const before, after = 500, 6000
	quiet := p99(p.publish(t, broadcast, 0, before, readers))
	process, kernel := p.kilobytes(t, "VmRSS"), kernelKilobytes(t)
	loaded := p99(p.publish(t, broadcast, before, after, readers))
	t.Logf("%d stuck consumers, %d messages of %d bytes: process %+d KB, kernel %d KB (%d before), p99 of readers %v (%v before, ratio %.2f)",
		*consumers, after, messageBytes, p.kilobytes(t, "VmRSS")-process, kernelKilobytes(t), kernel, loaded, quiet, float64(loaded)/float64(quiet))

	var mu sync.Mutex
	ends := make(map[string]int)
	var wg sync.WaitGroup
	for _, c := range stuck {
		wg.Go(func() {
			end := drain(t, c, before+after)
			mu.Lock()
			defer mu.Unlock()
			ends[end]++
		})
	}
	wg.Wait()
	t.Logf("how they ended when they read again: %v", ends)
}

// drain reads c to its end, checks that the messages are unbroken, and says how
// it ended.
func drain(t *testing.T, c net.Conn, published int) string {
	for i := 0; i < published; i++ {
		data, err := frametest.ReadText(c)
		closed := new(frametest.ClosedError)
		switch {
		case errors.As(err, &closed):
			return fmt.Sprint("close ", closed.Code)
		case errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded):
			t.Errorf("after %d messages a consumer neither ends nor goes on", i)
			return "hung"
		case err != nil:
			return "the connection's end"
		}
		if !strings.HasPrefix(data, fmt.Sprintf("%d ", i)) {
			t.Errorf("message %d: got %.20q", i, data)
			return "broken"
		}
	}
	return "everything"
}
