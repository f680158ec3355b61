package server_test

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/internaltest/frametest"
	"github.com/ikornaselur/notiflux/internal/loop"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/session"
	"github.com/ikornaselur/notiflux/internal/transport"
)

// writeTime is how long each write of a [crowd] takes, in the time of its bubble.
const writeTime = 100 * time.Microsecond

// A crowd is a set of text clients of a [bubble] with the same token.
type crowd struct {
	*bubble
	token string // for the topics hot and small; already verified

	mu     sync.Mutex
	writes []string // names of the clients that wrote, in order
}

func newCrowd(t *testing.T) *crowd {
	c := &crowd{bubble: newBubble(t)}
	c.token = c.bubble.token("hot", "small")
	if _, err := c.verifier.Verify(auth.Token(c.token)); err != nil { // from now on it is cached
		t.Fatal(err)
	}
	return c
}

// A slowClient takes time for each write.
type slowClient struct {
	loop.Client
	wrote func()
}

func (s slowClient) Wrote(n int) {
	s.Client.Wrote(n)
	<-time.After(writeTime) // in the time of the bubble
	s.wrote()
}

// join adds a client that is subscribed to a topic, and returns the peer's end.
func (c *crowd) join(name string, topic pubsub.Topic) net.Conn {
	ours, theirs := net.Pipe()
	c.t.Cleanup(func() { theirs.Close() })
	subscribe := frametest.Text("/subscribe " + string(topic) + " " + c.token)
	c.loop.Serve(ours, subscribe, func(conn *loop.Conn, now time.Duration) loop.Client {
		socket := transport.NewWebSocket(&c.sockets, conn, now)
		socket.Serve(c.group.Open(socket, c.endpoints.text, session.Request{Now: now}))
		return slowClient{socket, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.writes = append(c.writes, name)
		}}
	})
	return theirs
}

func (c *crowd) publish(topic pubsub.Topic) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bubble.publish(topic, "news")
}

// written returns the number of writes of all clients.
func (c *crowd) written() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.writes)
}

// afterFirst returns the number of writes from a time until name wrote.
func (c *crowd) afterFirst(from int, name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, who := range c.writes[from:] {
		if who == name {
			return i
		}
	}
	c.t.Errorf("%s did not write", name)
	return 0
}

// A large topic does not delay other deliveries by the whole time that it takes itself.
func TestALargeTopicLetsOthersThrough(t *testing.T) {
	const (
		subscribers = 2000
		slice       = 5 * time.Millisecond     // how long a loop writes in one slice
		most        = 2 * int(slice/writeTime) // writes until data from a socket is answered
		mostSmall   = 600                      // writes until a message of another topic is out: two parts of the large one's pass
	)
	for name, act := range map[string]func(c *crowd, pinger net.Conn) (who string, within int){
		"ping": func(_ *crowd, pinger net.Conn) (string, int) {
			if _, err := pinger.Write(frametest.Ping("x")); err != nil {
				t.Fatal(err)
			}
			return "pinger", most
		},
		"command": func(_ *crowd, pinger net.Conn) (string, int) {
			if _, err := pinger.Write(frametest.Text("/dance")); err != nil {
				t.Fatal(err)
			}
			return "pinger", most
		},
		"message of a small topic": func(c *crowd, _ net.Conn) (string, int) {
			c.publish("small")
			return "small", mostSmall
		},
		"new client": func(c *crowd, _ net.Conn) (string, int) {
			c.publish("small")
			c.join("new", "small").Write(frametest.Ping("x"))
			return "new", most
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCrowd(t)
				for range subscribers {
					c.join("hot", "hot")
				}
				pinger := c.join("pinger", "hot")
				go io.Copy(io.Discard, pinger)
				go io.Copy(io.Discard, c.join("small", "small"))
				synctest.Wait()
				c.publish("hot")
				time.Sleep(10 * time.Millisecond) // the pass has begun
				from := c.written()
				who, within := act(c, pinger)
				time.Sleep(time.Second)
				synctest.Wait()
				if got := c.afterFirst(from, who); got > within {
					t.Errorf("it went out after %d other writes, want at most %d", got, within)
				}
				if from == 0 || from+within > subscribers {
					t.Errorf("the pass had not begun: %d writes", from)
				}
				if got := c.written(); got < subscribers+2 {
					t.Errorf("%d writes, want one for each of %d", got, subscribers+2)
				}
			})
		})
	}
}

// Clients that send all the time do not stop delivery.
func TestAFloodDoesNotStopDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		c.sockets.ControlRate = -1
		const subscribers, flooders = 500, 200
		for range subscribers {
			c.join("hot", "hot")
		}
		done := make(chan struct{})
		for range flooders {
			peer := c.join("flooder", "small")
			go io.Copy(io.Discard, peer)
			go func() {
				for {
					select {
					case <-done:
						return
					default:
						peer.Write(frametest.Ping("x"))
					}
				}
			}()
		}
		time.Sleep(50 * time.Millisecond)
		c.publish("hot")
		time.Sleep(3 * subscribers * writeTime)
		close(done)
		c.mu.Lock()
		defer c.mu.Unlock()
		count := make(map[string]int)
		for _, who := range c.writes {
			count[who]++
		}
		if count["hot"] < subscribers || count["flooder"] == 0 {
			t.Errorf("%v writes; want %d of hot, and some of the flooders", count, subscribers)
		}
	})
}

// A loop inflates at most a fixed allowance for a client without a token. Beyond that, the
// loop does not read from its socket, and the client stays connected.
func TestAFloodThatInflatesIsReadSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		c.sockets.Inflaters = new(transport.Inflaters)
		const size, messages = 64 << 10, 200
		ignored := frametest.Frame(0xc1, frametest.Deflate(strings.Repeat("x", size)))
		flooder, other := c.join("flooder", "hot"), c.join("other", "hot")
		began := time.Now()
		go func() {
			for range messages {
				flooder.Write(ignored)
			}
			flooder.Write(frametest.Text("/dance"))
		}()
		if _, err := other.Write(frametest.Text("/dance")); err != nil {
			t.Fatal(err)
		}
		for _, want := range []struct {
			from        net.Conn
			least, most time.Duration
		}{
			{other, 0, time.Second},
			{flooder, 8 * time.Second, 9 * time.Second}, // all but 4 MiB, at 1 MiB per second
		} {
			answer, err := frametest.ReadFrame(want.from)
			if took := time.Since(began); err != nil || string(answer.Payload) != "Unknown command" || took < want.least || took > want.most {
				t.Errorf("%q, %v after %v; want an answer after %v to %v", answer.Payload, err, took, want.least, want.most)
			}
		}
	})
}
