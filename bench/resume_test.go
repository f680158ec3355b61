//go:build linux

package bench_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/internaltest/frametest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

var resumers = flag.Int("resumers", 200, "clients that reconnect at once; RESULTS.md has 10,000")

const (
	missed          = 20 // messages while a client is away
	clientsPerTopic = 10
)

// A resumer is a client of the JSON protocol with one topic.
type resumer struct {
	topic, token string
	conn         net.Conn
	position     string
}

// subscribe connects, and asks for the topic from the client's position, if it
// has one. It returns how many messages follow at once.
func (r *resumer) subscribe(p *process) (replay int, err error) {
	if r.conn, err = p.connect(0, "Sec-WebSocket-Protocol: notiflux.v1.json\r\n"); err != nil {
		return 0, err
	}
	since := ""
	if r.position != "" {
		since = fmt.Sprintf(`,"since":{%q:%q}`, r.topic, r.position)
	}
	if err := frametest.WriteText(r.conn, fmt.Sprintf(`{"type":"subscribe","topics":[%q],"token":%q%s}`, r.topic, r.token, since)); err != nil {
		return 0, err
	}
	var welcome struct{ Type string }
	if err := r.read(&welcome); err != nil || welcome.Type != "welcome" {
		return 0, fmt.Errorf("first came %q, %v", welcome.Type, err)
	}
	var answer struct {
		Topics map[string]struct {
			Position  string
			Recovered bool
			Replay    int
		}
	}
	if err := r.read(&answer); err != nil {
		return 0, err
	}
	got := answer.Topics[r.topic]
	if !got.Recovered || r.position != "" && got.Position != r.position {
		return 0, fmt.Errorf("asked for %q since %q, got %+v", r.topic, r.position, answer)
	}
	r.position = got.Position
	return got.Replay, nil
}

// resume comes back and reads what it missed.
func (r *resumer) resume(p *process) error {
	replay, err := r.subscribe(p)
	if err != nil {
		return err
	}
	if replay != missed {
		return fmt.Errorf("%d messages are replayed, %d were missed", replay, missed)
	}
	for i := range missed {
		var m struct{ Type, Topic, Position, Data string }
		if err := r.read(&m); err != nil || m.Type != "message" || m.Topic != r.topic || m.Data != fmt.Sprint(i) {
			return fmt.Errorf("message %d: got %+v, %v", i, m, err)
		}
		r.position = m.Position
	}
	return nil
}

func (r *resumer) read(v any) error {
	data, err := frametest.ReadText(r.conn)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(data), v)
}

// Clients that lose their connections all at once, come back all at once and
// resume are all complete.
func TestReconnectStorm(t *testing.T) {
	p := serve(t)
	clients := make([]*resumer, *resumers)
	topics := (len(clients) + clientsPerTopic - 1) / clientsPerTopic
	tokens := make([]string, topics)
	for i := range tokens {
		tokens[i] = p.token(t, auth.Subscribe, pubsub.Topic(fmt.Sprint("t", i)))
	}
	for i := range clients {
		clients[i] = &resumer{topic: fmt.Sprint("t", i%topics), token: tokens[i%topics]}
	}
	// all does something with all clients at once.
	all := func(do func(r *resumer) error) {
		t.Helper()
		var wg sync.WaitGroup
		for _, r := range clients {
			wg.Go(func() {
				if err := do(r); err != nil {
					t.Error(err)
				}
			})
		}
		if wg.Wait(); t.Failed() {
			t.FailNow()
		}
	}
	all(func(r *resumer) error { _, err := r.subscribe(p); return err })
	all(func(r *resumer) error { return r.conn.Close() })
	p.gone(t)
	p.publishToAll(t, topics)

	began, computed := time.Now(), p.cpu(t)
	all(func(r *resumer) error { return r.resume(p) })
	took, cpu := time.Since(began), p.cpu(t)-computed
	t.Logf("%d clients came back with %d messages each in %v: CPU %v, %v for each client; %d KB resident",
		len(clients), missed, took.Round(time.Millisecond), cpu, (cpu / time.Duration(len(clients))).Round(time.Microsecond), p.kilobytes(t, "VmRSS"))
	all(func(r *resumer) error { return r.conn.Close() })
}

// gone waits until the server has noticed that no client is left.
func (p *process) gone(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		if p.metric(t, "notiflux_connections") == 0 {
			return
		}
	}
	t.Fatal("the server still has clients")
}

// publishToAll publishes what clients miss, to each topic in order.
func (p *process) publishToAll(t *testing.T, topics int) {
	t.Helper()
	var wg sync.WaitGroup
	const publishers = 8
	for first := range publishers {
		wg.Go(func() {
			for i := first; i < topics; i += publishers {
				topic := pubsub.Topic(fmt.Sprint("t", i))
				token := p.token(t, auth.Broadcast, topic)
				for n := range missed {
					body := fmt.Sprintf(`{"topic":%q,"message":"%d","token":%q}`, topic, n, token)
					r, err := http.Post(p.url+"/broadcast", "application/json", strings.NewReader(body))
					if err != nil || r.StatusCode != http.StatusOK {
						t.Errorf("broadcast: %v, %v", r, err)
						return
					}
					io.Copy(io.Discard, r.Body)
					r.Body.Close()
				}
			}
		})
	}
	wg.Wait()
}
