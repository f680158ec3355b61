//go:build linux

package bench_test

import (
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/internaltest/frametest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

var history = flag.String("history", "16MiB", "--history-total-bytes of the server; RESULTS.md has 256MiB")

// What a server takes whose histories are full, beside what they may take in all,
// with clients that read everything as it comes.
func TestFullHistory(t *testing.T) {
	streams := []string{"/events", "/stream"}
	for _, test := range []struct {
		name      string
		size      int    // of a message, in characters
		character string // as it stands in JSON
		websocket []string
		streams   []string
	}{
		{"100 bytes, no clients", 100, "x", nil, nil},
		{"100 bytes, text", 100, "x", []string{""}, nil},
		{"100 bytes, four dialects", 100, "x", []string{"", "notiflux.v1.json"}, streams},
		{"1,000 bytes, four dialects", 1000, "x", []string{"", "notiflux.v1.json"}, streams},
		{"10,000 control characters, four dialects", 10_000, `\u0001`, []string{"", "notiflux.v1.json"}, streams},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := serve(t, "--history-total-bytes="+*history, "--history-messages=1000000", "--history-bytes=1MiB", "--history-age=24h", "--max-lag-bytes=64MiB")
			topics := make([]pubsub.Topic, 500)
			for i := range topics {
				topics[i] = pubsub.Topic(fmt.Sprint("topic", i))
			}
			token := p.token(t, auth.Subscribe, topics...)
			for _, protocol := range test.websocket {
				p.readAll(t, protocol, token, topics)
			}
			for _, path := range test.streams {
				for i := 0; i < len(topics); i += 50 {
					p.stream(t, path, token, topics[i:i+50])
				}
			}
			evicted := p.fill(t, topics, strings.Repeat(test.character, test.size))
			frames := p.metric(t, "notiflux_history_frame_bytes")
			all := float64(p.metric(t, "notiflux_history_bytes") + frames)
			now, most := float64(p.kilobytes(t, "VmRSS"))*1024, float64(p.kilobytes(t, "VmHWM"))*1024
			t.Logf("%s: %.0f MB counted, %.0f of them in frames, %d messages evicted; resident %.0f MB = %.2f times, at most %.0f MB = %.2f times",
				test.name, all/1e6, float64(frames)/1e6, evicted, now/1e6, now/all, most/1e6, most/all)
		})
	}
}

// fill publishes until the histories have been replaced once over, and returns how
// many messages they dropped.
func (p *process) fill(t *testing.T, topics []pubsub.Topic, message string) (evicted int) {
	t.Helper()
	bearer := "Bearer " + p.token(t, auth.Broadcast, topics...)
	batch := min(1000, max(1, 500_000/(len(message)+50)))
	var body strings.Builder
	for published, next := 0, 0; evicted*2 < published || evicted == 0; published += batch {
		body.Reset()
		body.WriteByte('[')
		for i := range batch {
			if i > 0 {
				body.WriteByte(',')
			}
			fmt.Fprintf(&body, `{"topic":%q,"message":"%s"}`, topics[next%len(topics)], message)
			next++
		}
		body.WriteByte(']')
		r, err := http.NewRequest(http.MethodPost, p.url+"/broadcast", strings.NewReader(body.String()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", bearer)
		r.Header.Set("Content-Type", "application/json")
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Fatal(answer.Status)
		}
		evicted = p.metric(t, "notiflux_messages_evicted_total")
	}
	return evicted
}

// readAll subscribes to topics over a WebSocket, and reads what comes.
func (p *process) readAll(t *testing.T, protocol, token string, topics []pubsub.Topic) {
	t.Helper()
	header := ""
	if protocol != "" {
		header = "Sec-WebSocket-Protocol: " + protocol + "\r\n"
	}
	c, err := p.connect(0, header)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(topics); i += 50 {
		if protocol == "" {
			for _, topic := range topics[i : i+50] {
				frametest.WriteText(c, fmt.Sprintf("/subscribe %s %s", topic, token))
			}
			continue
		}
		names := make([]string, 50)
		for j := range names {
			names[j] = strconv.Quote(string(topics[i+j]))
		}
		frametest.WriteText(c, fmt.Sprintf(`{"type":"subscribe","topics":[%s],"token":%q}`, strings.Join(names, ","), token))
	}
	p.discard(t, c)
}

// stream reads topics from an event stream.
func (p *process) stream(t *testing.T, path, token string, topics []pubsub.Topic) {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	query := ""
	for i, topic := range topics {
		query += fmt.Sprintf("%ctopic=%s", "?&"[min(i, 1)], topic)
	}
	fmt.Fprintf(c, "GET %s%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", path, query, token)
	p.discard(t, c)
}

// discard reads from c until the test ends.
func (p *process) discard(t *testing.T, c net.Conn) {
	t.Cleanup(func() { c.Close() })
	go io.Copy(io.Discard, c)
}
