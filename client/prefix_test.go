package client_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/coder/websocket"

	"github.com/ikornaselur/notiflux/client"
)

// If a busy loop has not taken a message when the client is closed, it gets no later message
// either, even if it is ready again by then.
func TestCloseLeavesNoHole(t *testing.T) {
	for range 20 {
		synctest.Test(t, closeBehindABusyLoop)
	}
}

func closeBehindABusyLoop(t *testing.T) {
	f := newFake(t)
	more := make(chan struct{})
	f.block = func(w http.ResponseWriter, r *http.Request) {
		acceptAnd(w, r, func(c *websocket.Conn) {
			say := func(frame string) { _ = c.Write(context.Background(), websocket.MessageText, []byte(frame)) }
			say(`{"type":"welcome"}`)
			_, _, _ = c.Read(context.Background())
			say(subscribedTo(1, "a"))
			say(message("a", 1, "1"))
			say(message("a", 2, "2"))
			<-more // and it reads no close frame
			for n := 3; n < 20; n++ {
				say(message("a", n, fmt.Sprint(n)))
			}
		})
	}
	c := f.dial(client.Options{})
	a := listen(t, c, topics("a"))
	a.expect("subscribed a E:0 0 resumed=false")
	synctest.Wait() // the loop is busy with the first message, the second waits
	go c.Close()
	synctest.Wait()
	a.expect("message a E:1 1")
	close(more)
	a.expect("end the client or the subscription is closed")
}

// A stream that is replaced while a loop is busy leaves no hole: the next one begins after the
// last message that was taken.
func TestReplacedStreamsLeaveNoHole(t *testing.T) {
	const replaced, perStream = 200, 20
	synctest.Test(t, func(t *testing.T) {
		b := newBlocked(t, status(502))
		c := b.dial(client.Options{})
		since := map[string]client.Position{"a": "E:7"}
		a := listen(t, c, wish{Topics: topics("a").Topics, Since: since})
		done := make(chan struct{})
		defer close(done)
		go func() {
			for {
				select {
				case p := <-b.streams:
					serveFrom(p, perStream)
				case <-done:
					return
				}
			}
		}()
		a.expect("subscribed a E:7 0 resumed=false")
		last := 7
		for range replaced {
			other := listen(t, c, topics("b"))
			for range 3 {
				last++
				a.expect(fmt.Sprintf("message a E:%d %d", last, last))
			}
			other.leave()
			for range other.events {
			}
		}
	})
}

// serveFrom sends hello on a stream of a and perhaps b, and the next n messages of a at once.
func serveFrom(p *streamPeer, n int) {
	names, offsets, _ := strings.Cut(p.query, " ")
	offset := 0
	if _, err := fmt.Sscanf(offsets, "a=E:%d", &offset); err != nil {
		p.t.Errorf("the stream %s does not say where a goes on", p.query)
	}
	hello := []string{fmt.Sprintf("a=E:%d", offset)}
	if names == "a,b" {
		hello = append(hello, "b=E:0")
	}
	p.hello(hello...)
	var events strings.Builder
	for next := offset + 1; next <= offset+n; next++ {
		fmt.Fprintf(&events, "data: %s\n\n", message("a", next, fmt.Sprint(next)))
	}
	p.events <- events.String()
}

// A refusal that a busy loop has not taken when its stream is replaced is still reported.
func TestReplacedStreamsLoseNoRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBlocked(t, status(502))
		c := b.dial(client.Options{})
		a := listen(t, c, topics("a"))
		p := b.accept("a")
		p.hello("a=E:0")
		p.say(message("a", 1, "1"), `{"type":"unsubscribed","topics":["a"],"code":"topic_denied"}`)
		a.expect("subscribed a E:0 0 resumed=false")
		synctest.Wait() // the loop is busy with the message, the refusal waits
		other := listen(t, c, topics("b"))
		b.refuse <- answer(403, "topic_denied")
		p.ended()
		a.expect("message a E:1 1", "refused a topic_denied")
		a.over()
		other.leave()
	})
}

// So is a Subscribed.
func TestReplacedStreamsLoseNoSubscribed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBlocked(t, status(502))
		c := b.dial(client.Options{})
		a := listen(t, c, wish{
			Topics: topics("a", "b").Topics,
			Since:  map[string]client.Position{"a": "E:1", "b": "E:2"},
		})
		p := b.accept("a,b a=E:1 b=E:2")
		p.hello("a=E:1", "b=E:2")
		synctest.Wait() // the loop is busy with a
		other := listen(t, c, topics("c"))
		p.ended()
		p = b.accept("a,b,c a=E:1 b=E:2")
		p.hello("a=E:1", "b=E:2", "c=E:3")
		p.say(message("b", 3, "3"))
		a.expect("subscribed a E:1 0 resumed=false", "subscribed b E:2 0 resumed=false", "message b E:3 3")
		other.leave()
	})
}
