package server_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// refusedTopics returns a command without a token whose answer has about 700 bytes for each
// of n topics.
func refusedTopics(n int) string {
	var topics []string
	for i := range n {
		topics = append(topics, fmt.Sprintf("%q", fmt.Sprint(strings.Repeat("x", 700), i)))
	}
	return `{"type":"subscribe","topics":[` + strings.Join(topics, ",") + `]}`
}

// Clients without a token that read none of their answers, however many, neither disconnect
// a client that reads nor take the room of others.
func TestUnauthenticatedUnreadAnswersHarmNoOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t)
		b.sockets.PingTimeout = -1
		slow := b.events(time.Time{}, "a", "b")
		for n := 100; n >= 5; n /= 2 {
			for range 150 {
				b.json().say(refusedTopics(n))
			}
			synctest.Wait()
		}
		if used, most := b.unread.Unauthenticated.Used(), int64(8<<20); used < most/2 || used > most {
			t.Fatalf("strangers left %d bytes unread; want about %d", used, most)
		}
		b.publish("a", strings.Repeat("x", 30_000))
		b.publish("b", strings.Repeat("y", 30_000))
		reads := b.json()
		reads.say(refusedTopics(3))
		for got, i := 0, 0; got < 60_000; i++ {
			time.Sleep(10 * time.Millisecond)
			k, err := slow.Read(make([]byte, 100))
			if err != nil {
				t.Fatalf("the slow client was disconnected after %d bytes: %v", got, err)
			}
			if got += k; i < 5 {
				if _, err := reads.Read(make([]byte, 100)); err != nil {
					t.Fatalf("a client with a small answer was disconnected: %v", err)
				}
			}
		}
		if used := b.unread.Answers.Used(); used != 0 {
			t.Errorf("%d bytes of the room for answers over HTTP are taken", used)
		}
	})
}
