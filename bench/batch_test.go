//go:build linux

package bench_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// What a message costs the server in a batch of 100, each to a topic of its own,
// with one token in the header and without subscribers. The server has one core, as
// everywhere in RESULTS.md.
func BenchmarkBatch(b *testing.B) {
	b.Setenv("GOMAXPROCS", "1")
	for _, size := range []int{1, 100} {
		b.Run(fmt.Sprintf("messages=%d", size), func(b *testing.B) {
			p := serve(b)
			var topics []pubsub.Topic
			var elements []string
			for i := range size {
				topics = append(topics, pubsub.Topic(fmt.Sprintf("topic-%04d", i)))
				elements = append(elements, fmt.Sprintf(`{"topic":"%s","message":"%s"}`, topics[i], strings.Repeat("x", 100)))
			}
			body := "[" + strings.Join(elements, ",") + "]"
			bearer := "Bearer " + p.token(b, auth.Broadcast, topics...)
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			post := func() {
				r, err := http.NewRequest(http.MethodPost, p.url+"/broadcast", strings.NewReader(body))
				if err != nil {
					b.Fatal(err)
				}
				r.Header.Set("Authorization", bearer)
				r.Header.Set("Content-Type", "application/json")
				answer, err := client.Do(r)
				if err != nil {
					b.Fatal(err)
				}
				defer answer.Body.Close()
				if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != http.StatusOK {
					b.Fatalf("%s, %v", answer.Status, err)
				}
			}
			post() // so that the token is known
			before := p.cpu(b)
			for b.Loop() {
				post()
			}
			b.ReportMetric(float64((p.cpu(b)-before).Nanoseconds())/float64(b.N*size), "server-ns/message")
		})
	}
}
