// Package eventstream connects to a server by event streams (server-sent events), for
// networks that block WebSockets. To its user a [Conn] is a connection of the JSON protocol
// that takes subscribe and unsubscribe commands. With the name of a connection, a publisher
// can ask the server not to send a message to that connection; a Conn has no such name. It
// cannot take part in presence either.
//
// The topics of an event stream are part of its address. So when topics come or go, the
// Conn replaces a stream by one that resumes each topic at its position. The new stream
// resumes with a stream cursor, which says how far the client is in each topic. The Conn
// makes this cursor from the positions of the frames that its user has read. It does not
// use the cursors that the server sends: each covers only the topics of one stream, so a
// topic that moves to another stream would start over. Topics with different tokens,
// different modes (all messages, or only the latest) or different epochs need different
// streams, and a stream carries up to 64 topics.
//
// Each stream has a goroutine, which hands frames to Read without a queue: the position of
// a topic is that of the last frame that Read has returned. So replacing a stream neither
// loses nor repeats a message. A stream that breaks ends the whole Conn.
//
// The package does not reconnect, and does not check that positions increase.
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

// maxCommandTopics is more topics than a subscribe command ever has.
const maxCommandTopics = 1 << 20

var (
	errClosed   = errors.New("the connection was closed")
	errReplaced = errors.New("the client replaced this event stream by a new one")
	errSilent   = errors.New("nothing was received from the server for too long")
)

// A Conn is a set of event streams that act as one connection. One goroutine may call Read
// while another calls Write and Close.
type Conn struct {
	// Immutable after New.
	server  *rest.Server
	frames  chan *wire.Frame        // unbuffered: a frame that was sent is a frame that Read returns
	reading context.Context         // ends with the connection; its cause is why
	cut     context.CancelCauseFunc // ends reading
	running sync.WaitGroup          // the goroutines of the streams

	// Owned by the goroutine that calls Write.
	streams []*stream // oldest first
	numbers uint64    // counts topics

	// Guarded by mu.
	mu     sync.Mutex
	topics map[string]*topic
}

// A topic is one subscription of the user.
type topic struct {
	// Immutable.
	name   string
	number uint64 // streams request topics in this order
	id     int64  // of the subscribe command
	token  string
	last   int
	latest bool

	// Guarded by Conn.mu. The goroutine of the topic's stream reads them without it,
	// because nobody else writes them while the stream runs.
	position wire.Position // of the last frame that Read returned; zero: none
	live     bool          // Read has returned the answer to the subscribe command
}

// New returns a connection without topics. It does no I/O; the first subscribe command does.
func New(server *rest.Server) *Conn {
	c := &Conn{server: server, frames: make(chan *wire.Frame), topics: map[string]*topic{}}
	c.reading, c.cut = context.WithCancelCause(context.Background())
	return c
}

// Welcome returns what a server would say in its welcome: no name, and limits that every
// command fits into.
func (c *Conn) Welcome() wire.Welcome {
	return wire.Welcome{Ping: streamPing, Limits: wire.Limits{
		Command: maxCommandTopics << 10, Topics: maxCommandTopics, TopicsPerCommand: maxCommandTopics,
		CommandsPerSecond: wire.DefaultCommandsPerSecond,
	}}
}

// Read waits for the next frame. It differs from a WebSocket in two ways: the answer to a
// subscribe command may come in several parts, each for some of the topics; and a topic
// whose messages were lost while its stream was replaced continues with a frame of type
// [wire.Expired]. The error says why the connection ended: a [*wire.Close] if the server
// ended a stream, a [*wire.Status] if it refused one, else an error of the network.
func (c *Conn) Read() (*wire.Frame, error) {
	select {
	case f := <-c.frames:
		return f, nil
	case <-c.reading.Done():
		return nil, context.Cause(c.reading)
	}
}

// Write takes a command. Streams make the requests later, so Write waits at most until the
// streams that it replaces have stopped. It ignores commands other than subscribe and
// unsubscribe, and unsubscribe has no answer. Subscribing again to a topic starts it over.
func (c *Conn) Write(_ context.Context, command *wire.Command) error {
	if err := context.Cause(c.reading); err != nil {
		return err
	}
	switch {
	case command.Type == "subscribe" && command.Presence:
		c.running.Go(func() { c.send(c.reading, refusal(command.ID, command.Topics, errPresence)) })
	case command.Type == "subscribe":
		c.arrange(c.add(command))
	case command.Type == "unsubscribe":
		c.remove(command.Topics)
		c.arrange(nil)
	}
	return nil
}

// Close ends all streams. A blocked Read returns, and no goroutine is left. The error is
// always nil.
func (c *Conn) Close(context.Context) error {
	c.cut(errClosed)
	c.running.Wait()
	return nil
}

// send hands a frame to Read, and reports whether Read has it. It returns false when ctx
// ends, and from then on: a later frame must not pass where an earlier one did not.
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

// errPresence is why presence is refused.
var errPresence = wire.Refusal{
	Code:    "upgrade_required",
	Message: "presence needs a WebSocket, and something between the client and the server blocks WebSockets",
}

// refusal returns the answer to a subscribe command that refuses topics.
func refusal(id int64, topics []string, r wire.Refusal) *wire.Frame {
	refused := map[string]wire.Refusal{}
	for _, topic := range topics {
		refused[topic] = r
	}
	return &wire.Frame{Type: "subscribed", ID: id, Refused: refused}
}

// add adds the topics of a subscribe command, and returns them. A topic replaces the one
// of the same name.
func (c *Conn) add(command *wire.Command) (fresh []*topic) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range command.Topics {
		c.numbers++
		t := &topic{name: name, number: c.numbers, id: command.ID, token: command.Token, last: command.Last, latest: command.Mode == "latest"}
		if since, ok := command.Since[name]; ok {
			t.position, _ = wire.ParsePosition(since) // the caller has checked it
		}
		c.topics[name] = t
		fresh = append(fresh, t)
	}
	return c.heldLocked(fresh) // without those that the command names twice
}

func (c *Conn) remove(names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range names {
		delete(c.topics, name)
	}
}

// arrange gives each topic a stream. It replaces the streams that lost a topic, and the
// newest stream that the fresh topics fit into.
func (c *Conn) arrange(fresh []*topic) {
	replaced := c.replaced(fresh)
	for _, st := range replaced {
		st.cut(errReplaced)
	}
	for _, st := range replaced {
		<-st.done // from here on the positions of its topics stay as they are
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, st := range replaced {
		fresh = append(fresh, c.heldLocked(st.topics)...)
	}
	c.streams = slices.DeleteFunc(c.streams, func(st *stream) bool { return slices.Contains(replaced, st) })
	slices.SortFunc(fresh, func(a, b *topic) int { return cmp.Compare(a.number, b.number) })
	for _, p := range pack(fresh) {
		c.streams = append(c.streams, c.startLocked(p.topics))
	}
}

// replaced returns the streams that arrange replaces. It forgets those that have ended.
func (c *Conn) replaced(fresh []*topic) (replaced []*stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.streams = slices.DeleteFunc(c.streams, func(st *stream) bool { return len(st.topics) == 0 })
	placed := len(fresh) == 0
	for _, st := range slices.Backward(c.streams) {
		held := c.heldLocked(st.topics)
		room := !placed && len(pack(append(held, fresh...))) <= len(pack(fresh))
		if placed = placed || room; room || len(held) < len(st.topics) {
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
