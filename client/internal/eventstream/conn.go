// Package eventstream connects to a server by event streams (SSE), for where WebSockets
// are blocked. To its user a [Conn] is a connection of the JSON protocol that answers
// subscribe and unsubscribe commands, but has no name and no presence.
//
// An event stream has its topics in its address. So when topics come or go, a stream is
// replaced by one that resumes each topic at its position. A topic that a cursor does not
// name begins anew, so the cursor is made of the positions of what was read, not taken
// from the server, which knows nothing of topics that were on another stream. Topics with
// different tokens, modes or epochs do not fit into one stream, and one carries up to 64.
//
// Each stream has a goroutine, which passes frames to Read without a queue: the position
// of a topic is that of the last frame that was taken. A stream that breaks ends the
// connection.
package eventstream

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/ikornaselur/notiflux/client/internal/rest"
	"github.com/ikornaselur/notiflux/client/internal/wire"
)

// maxCommandTopics is how many topics a subscribe command may have: any number.
const maxCommandTopics = 1 << 20

var (
	errClosed   = errors.New("the connection was closed")
	errReplaced = errors.New("another stream takes the place of this one")
	errSilent   = errors.New("the server was not heard")
)

// A Conn is the event streams that stand for one connection. One goroutine may read while
// another writes and a third closes.
type Conn struct {
	// Immutable after New.
	server  *rest.Server
	frames  chan *wire.Frame        // unbuffered: what was sent has been taken
	reading context.Context         // not a caller's: ends with the connection
	cut     context.CancelCauseFunc // ends reading
	running sync.WaitGroup          // of the goroutines of streams

	// Owned by the goroutine that writes.
	streams []*stream // the newest is the last
	numbers uint64    // topics so far

	// Guarded by mu.
	mu     sync.Mutex
	topics map[string]*topic
}

// A topic is one that is subscribed to.
type topic struct {
	// Immutable.
	name   string
	number uint64 // topics are asked for in this order
	id     int64  // of the command
	token  string
	last   int
	latest bool

	// Guarded by Conn.mu.
	position wire.Position // of the last frame that was taken; without an epoch: none
	live     bool          // the command is answered
}

// New returns a connection without topics. It does no I/O.
func New(server *rest.Server) *Conn {
	c := &Conn{server: server, frames: make(chan *wire.Frame), topics: map[string]*topic{}}
	c.reading, c.cut = context.WithCancelCause(context.Background())
	return c
}

// Welcome returns what a server would say, with limits that fit any command.
func (c *Conn) Welcome() wire.Welcome {
	return wire.Welcome{Ping: streamPing, Limits: wire.Limits{Command: maxCommandTopics << 10, TopicsPerCommand: maxCommandTopics}}
}

// Read waits for the next frame. The answer to a subscribe command may come in parts, each
// with some of its topics. A frame of the type expired is not of the protocol: the topic
// continues at Position, and messages before it are missing. The error says why the
// connection has ended.
func (c *Conn) Read() (*wire.Frame, error) {
	select {
	case f := <-c.frames:
		return f, nil
	case <-c.reading.Done():
		return nil, context.Cause(c.reading)
	}
}

// Write takes a command. It waits for the streams that it replaces, not for the server.
func (c *Conn) Write(_ context.Context, command *wire.Command) error {
	switch {
	case command.Type == "subscribe" && command.Presence:
		c.running.Go(func() {
			c.send(c.reading, refusal(command.ID, command.Topics, wire.Refusal{
				Code: "upgrade_required", Message: "presence takes a WebSocket, and something between client and server blocks WebSockets",
			}))
		})
	case command.Type == "subscribe":
		c.arrange(c.add(command))
	case command.Type == "unsubscribe":
		c.remove(command.Topics)
		c.arrange(nil)
	}
	return context.Cause(c.reading)
}

// Close ends all streams, and waits for their goroutines. A Read that is blocked returns.
func (c *Conn) Close(context.Context) error {
	c.cut(errClosed)
	c.running.Wait()
	return nil
}

// send passes a frame to Read, and reports whether it was taken.
func (c *Conn) send(ctx context.Context, f *wire.Frame) bool {
	if ctx.Err() != nil {
		return false
	}
	select {
	case c.frames <- f:
		return true
	case <-ctx.Done():
		return false
	}
}

// refusal answers a command: topics are refused.
func refusal(id int64, topics []string, r wire.Refusal) *wire.Frame {
	refused := map[string]wire.Refusal{}
	for _, topic := range topics {
		refused[topic] = r
	}
	return &wire.Frame{Type: "subscribed", ID: id, Refused: refused}
}

// add returns the topics of a subscribe command, in place of those with the same names.
func (c *Conn) add(command *wire.Command) (fresh []*topic) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range command.Topics {
		c.numbers++
		t := &topic{name: name, number: c.numbers, id: command.ID, token: command.Token, last: command.Last, latest: command.Mode == "latest"}
		if since, ok := command.Since[name]; ok {
			t.position, _ = wire.ParsePosition(since) // without an epoch it begins anew
		}
		c.topics[name] = t
		fresh = append(fresh, t)
	}
	return fresh
}

func (c *Conn) remove(names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range names {
		delete(c.topics, name)
	}
}

// arrange sees that there is a stream for each topic. It replaces the streams that have
// lost a topic, and the newest one if it has room for what is fresh.
func (c *Conn) arrange(fresh []*topic) {
	replaced := c.replaced(fresh)
	for _, st := range replaced {
		st.cut(errReplaced)
		<-st.done
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, st := range replaced {
		fresh = append(fresh, c.heldLocked(st.topics)...)
	}
	c.streams = slices.DeleteFunc(c.streams, func(st *stream) bool { return slices.Contains(replaced, st) })
	slices.SortFunc(fresh, func(a, b *topic) int { return cmp.Compare(a.number, b.number) })
	for _, p := range pack(fresh) {
		c.streams = append(c.streams, c.start(p.topics))
	}
}

// replaced returns the streams that arrange replaces.
func (c *Conn) replaced(fresh []*topic) (replaced []*stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.streams = slices.DeleteFunc(c.streams, func(st *stream) bool { return len(st.topics) == 0 }) // it has ended
	for at, st := range c.streams {
		held := c.heldLocked(st.topics)
		newest := at == len(c.streams)-1 && len(fresh) > 0
		if len(held) < len(st.topics) || newest && len(pack(append(held, fresh...))) <= len(pack(fresh)) {
			replaced = append(replaced, st)
		}
	}
	return replaced
}

// heldLocked returns those of topics that the user still has.
func (c *Conn) heldLocked(topics []*topic) (held []*topic) {
	for _, t := range topics {
		if c.topics[t.name] == t {
			held = append(held, t)
		}
	}
	return held
}
