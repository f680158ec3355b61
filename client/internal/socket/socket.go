// Package socket connects to a server over a WebSocket. [Dial] does the handshake and waits
// for the server's welcome. A [Conn] then answers pings, notices when the server is silent,
// and closes politely.
//
// A Conn reads one frame at a time and none ahead. So when its user does not read, TCP flow
// control slows the server down. During that time the Conn does not answer pings, and does
// not take the server for silent.
//
// The error that ends a connection says why, so that the user can decide whether to connect
// again. The package itself does not reconnect, and knows nothing of subscriptions.
package socket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/ikornaselur/notiflux/client/internal/wire"
)

const (
	subprotocol = "notiflux.v1.json"

	// handshakeTimeout is above a slow network's handshake and below a person's
	// patience.
	handshakeTimeout = 10 * time.Second
	// writeTimeout is longer than a healthy connection blocks for a command.
	writeTimeout = 10 * time.Second
	// silenceSlack is the delay of a slow network, which is added to two pings.
	silenceSlack = 10 * time.Second
)

var (
	errSilent = errors.New("nothing was received from the server for too long")
	errClosed = errors.New("the connection was closed")
)

// A Conn is a WebSocket to a server. Read, Write and Close may each be called by another
// goroutine at the same time.
type Conn struct {
	// Immutable after Dial.
	socket  *websocket.Conn
	welcome wire.Welcome
	silence *time.Timer             // ends reading; runs while Read waits
	reading context.Context         // its cause is why this side gave the connection up
	cut     context.CancelCauseFunc // ends reading

	// Owned by the goroutine that calls Read.
	buffer bytes.Buffer
	bye    wire.Frame // zero: the server has not said goodbye
}

// Dial connects to the server at base and waits for its welcome, together for up to 10 s.
// The error is a [*wire.Status] if the server answered the handshake with an HTTP error,
// [wire.ErrProtocol] if it does not speak the protocol, a [*wire.Close] if it closed the
// connection, a [*wire.Interrupted] if it was reached but did not answer, else an error of
// the network.
func Dial(ctx context.Context, client *http.Client, base *url.URL) (*Conn, error) {
	var sent atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent.Store(true) }})
	shaking, cancel := context.WithTimeout(traced, handshakeTimeout)
	defer cancel()
	c, err := dial(shaking, client, base)
	if err != nil && sent.Load() && ctx.Err() == nil && !isAnswer(err) {
		err = &wire.Interrupted{Err: err}
	}
	return c, err
}

// isAnswer reports whether err is what a server said, or something in its place.
func isAnswer(err error) bool {
	_, refused := errors.AsType[*wire.Status](err)
	_, closed := errors.AsType[*wire.Close](err)
	return refused || closed || err == wire.ErrProtocol
}

func dial(ctx context.Context, client *http.Client, base *url.URL) (*Conn, error) {
	c := &Conn{welcome: wire.Welcome{Ping: wire.DefaultPing}}
	socket, response, err := websocket.Dial(ctx, base.JoinPath("ws").String(), &websocket.DialOptions{
		HTTPClient:     client,
		Subprotocols:   []string{subprotocol},
		OnPingReceived: func(context.Context, []byte) bool { c.heard(); return true },
	})
	if err != nil {
		return nil, refusal(response, err)
	}
	c.socket = socket
	c.reading, c.cut = context.WithCancelCause(context.Background())
	c.silence = time.AfterFunc(c.patience(), func() { c.cut(errSilent) })
	if err := c.readWelcome(ctx); err != nil {
		c.end()
		return nil, err
	}
	c.silence.Stop()
	return c, nil
}

// refusal returns why a handshake failed.
func refusal(response *http.Response, err error) error {
	if response == nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			return e.Err // the caller knows the address
		}
		return err
	}
	if response.StatusCode == http.StatusSwitchingProtocols {
		return wire.ErrProtocol
	}
	return wire.StatusOf(response)
}

// readWelcome reads the first frame.
func (c *Conn) readWelcome(ctx context.Context) error {
	if c.socket.Subprotocol() != subprotocol {
		return wire.ErrProtocol
	}
	c.socket.SetReadLimit(wire.FrameOverhead)
	_, data, err := c.socket.Read(ctx)
	if err != nil {
		return c.ended(err)
	}
	f, err := wire.ParseFrame(data)
	if err != nil {
		return err
	}
	if f.Type != "welcome" {
		return wire.ErrProtocol
	}
	c.welcome = f.Welcome()
	c.socket.SetReadLimit(wire.FrameOverhead + wire.FrameGrowth*c.welcome.Limits.Message)
	return nil
}

// Welcome returns the name of the connection and the limits of the server.
func (c *Conn) Welcome() wire.Welcome { return c.welcome }

func (c *Conn) patience() time.Duration { return 2*c.welcome.Ping + silenceSlack }

// heard postpones the end of a connection on which the server is silent.
func (c *Conn) heard() { c.silence.Reset(c.patience()) }

// Read waits for the next frame, which the caller owns. The error says why the connection
// ended: a [*wire.Close] if the server closed it, [wire.ErrProtocol], [wire.ErrHalfFrame] or
// [wire.ErrTooLarge] for what it sent, else an error of the network. It is final.
func (c *Conn) Read() (*wire.Frame, error) {
	c.heard()
	defer c.silence.Stop()
	kind, r, err := c.socket.Reader(c.reading)
	if err != nil {
		return nil, c.ended(err)
	}
	if kind != websocket.MessageText {
		return nil, wire.ErrProtocol
	}
	c.buffer.Reset()
	if c.buffer.Cap() > wire.KeptBuffer {
		c.buffer = bytes.Buffer{}
	}
	if _, err := c.buffer.ReadFrom(wire.Pieces{Reader: r, Heard: c.heard}); err != nil {
		return nil, c.ended(err)
	}
	f, err := wire.ParseFrame(c.buffer.Bytes())
	if err == nil && f.Type == "bye" {
		c.bye = *f
	}
	return f, err
}

// ended returns why the connection ended, given the error of a read.
func (c *Conn) ended(err error) error {
	if cause := context.Cause(c.reading); cause != nil {
		return cause
	}
	if e, ok := errors.AsType[websocket.CloseError](err); ok {
		return &wire.Close{Code: int(e.Code), Reason: e.Reason, Bye: c.bye.Code, After: time.Duration(c.bye.After) * time.Millisecond}
	}
	if errors.Is(err, websocket.ErrMessageTooBig) {
		return wire.ErrTooLarge
	}
	return fmt.Errorf("the connection broke: %w", err)
}

// Write sends a command. It blocks until the network has taken it, for up to 10 s.
func (c *Conn) Write(ctx context.Context, command *wire.Command) error {
	data, err := wire.Encode(command)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return c.socket.Write(ctx, websocket.MessageText, data)
}

// Close closes the connection. It waits until the server has closed it as well or ctx ends;
// if nobody reads, for up to 5 s even after ctx has ended. A Read that is waiting returns.
// The error is always nil.
func (c *Conn) Close(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { c.cut(errClosed) })()
	_ = c.socket.Close(websocket.StatusNormalClosure, "") // it ends, whether or not the server notices
	c.end()
	return nil
}

// end frees what the connection holds.
func (c *Conn) end() {
	_ = c.socket.CloseNow() // nothing is left to be sent
	c.cut(errClosed)
	c.silence.Stop()
}
