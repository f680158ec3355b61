//go:build linux

package bench_test

import (
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/internaltest/frametest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

var (
	soak    = flag.Duration("soak", 2*time.Second, "how long clients come and go; RESULTS.md has 10 minutes")
	soakers = flag.Int("soakers", 100, "clients at a time; RESULTS.md has 5,000")
)

// metric returns what the server shows of one series.
func (p *process) metric(t *testing.T, name string) int {
	t.Helper()
	r, err := http.Get(p.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	_, value, _ := strings.Cut(string(body), "\n"+name+" ")
	value, _, _ = strings.Cut(value, "\n")
	n, err := strconv.ParseFloat(value, 64)
	if err != nil {
		t.Fatalf("metric %s: %v", name, err)
	}
	return int(n)
}

// state is what must end where it began.
type state struct {
	goroutines, descriptors, connections, subscriptions int

	heap     int // KB that are in use after a collection
	resident int // KB that the system has given, given back or not
}

func (p *process) state(t *testing.T) state {
	t.Helper()
	r, err := http.Get(p.admin + "/debug/pprof/heap?gc=1") // collects first
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, r.Body)
	r.Body.Close()
	heap := p.metric(t, "go_memstats_heap_alloc_bytes") >> 10
	http.DefaultClient.CloseIdleConnections()
	fds, err := os.ReadDir("/proc/" + p.pid + "/fd")
	if err != nil {
		t.Fatal(err)
	}
	return state{p.metric(t, "go_goroutines"), len(fds), p.metric(t, "notiflux_connections"), p.metric(t, "notiflux_subscriptions"), heap, p.kilobytes(t, "VmRSS")}
}

// Clients that come, listen and go in every way leave nothing behind.
func TestSoak(t *testing.T) {
	for _, loops := range []string{"auto", "portable"} {
		t.Run("loops="+loops, func(t *testing.T) {
			p := serve(t, "--loops="+loops, "--history-age=2s")
			p.churn(t, *soakers, time.Now().Add(*soak/10)) // Warm: what is made once is made.
			began := p.settle(t)
			came := p.churn(t, *soakers, time.Now().Add(*soak))
			ended := p.settle(t)
			t.Logf("%d clients came and went in %v: began with %+v, ended with %+v", came, *soak, began, ended)
			// Room for what pools and the HTTP client of this test keep.
			if ended.goroutines > began.goroutines+10 || ended.descriptors > began.descriptors+10 || ended.heap > began.heap+4<<10 {
				t.Errorf("left behind: began with %+v, ended with %+v", began, ended)
			}
		})
	}
}

// settle waits until the clients have gone for the server too.
func (p *process) settle(t *testing.T) (s state) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		if s = p.state(t); s.connections == 0 && s.subscriptions == 0 && p.metric(t, "notiflux_topics") == 0 {
			return s
		}
	}
	t.Errorf("clients or topics are left: %+v", s)
	return s
}

// churn has clients come and go until a time, so many at once, and returns how many came.
func (p *process) churn(t *testing.T, n int, until time.Time) (came int) {
	const topics = 20
	token := make([]string, topics)
	for i := range token {
		token[i] = p.token(t, auth.Subscribe, pubsub.Topic(fmt.Sprint("t", i)))
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	wg.Go(func() { p.chatter(t, topics, until) })
	for range n {
		wg.Go(func() {
			for time.Now().Before(until) && !t.Failed() {
				i := rand.IntN(topics)
				c, err := p.connect(0)
				if err != nil {
					t.Error(err)
					return
				}
				c.SetDeadline(until.Add(time.Second)) // Nobody publishes after that.
				mu.Lock()
				came++
				mu.Unlock()
				frametest.WriteText(c, fmt.Sprintf("/subscribe t%d %s", i, token[i]))
				for range rand.IntN(4) {
					frametest.ReadText(c)
				}
				switch rand.IntN(4) {
				case 0:
					frametest.WriteText(c, "/unsubscribe-all")
				case 1:
					c.Write([]byte{0x81, 0xfe}) // A frame that is never finished.
				case 2:
					c.Write(frametest.Closing(1000, ""))
				}
				c.Close()
			}
		})
	}
	wg.Wait()
	return came
}

// chatter publishes to all topics until a time.
func (p *process) chatter(t *testing.T, topics int, until time.Time) {
	bodies := make([]string, topics) // With the same tokens throughout: new ones would fill the server's cache.
	for i := range bodies {
		topic := pubsub.Topic(fmt.Sprint("t", i))
		bodies[i] = fmt.Sprintf(`{"topic":%q,"message":"m","token":%q}`, topic, p.token(t, auth.Broadcast, topic))
	}
	for i := 0; time.Now().Before(until); i++ {
		r, err := http.Post(p.url+"/broadcast", "application/json", strings.NewReader(bodies[i%topics]))
		if err != nil {
			t.Error(err)
			return
		}
		io.Copy(io.Discard, r.Body)
		r.Body.Close()
	}
}
