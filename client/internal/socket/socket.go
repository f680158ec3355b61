// Package socket connects to a server by a WebSocket. A [Conn] is open when the server
// has welcomed it; it answers pings, ends when nothing is heard, and closes politely.
// It reads whole frames, one at a time and none ahead: back-pressure is that of TCP.
//
// It does not connect again, and knows nothing of subscriptions.
package socket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
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
	// writeTimeout is longer than a living connection blocks for a command.
	writeTimeout = 10 * time.Second
	// silenceSlack is added to two pings: what a slow network may delay one.
	silenceSlack = 10 * time.Second
)

var (
	errSilent = errors.New("nothing was received from the server for too long")
	errClosed = errors.New("the connection was closed")
)

// A Conn is a WebSocket to a server. One goroutine may read while another writes and a
// third closes.
type Conn struct {
	// Immutable after Dial.
	socket  *websocket.Conn
	welcome wire.Welcome
	silence *time.Timer             // ends reading
	reading context.Context         // not the caller's: it ends when the socket is given up
	cut     context.CancelCauseFunc // ends reading

	// Owned by the goroutine that reads.
	buffer bytes.Buffer
	bye    *wire.Frame // what the server said last, if it said goodbye
}

// Dial connects to the server at base and waits for its welcome, for 10 s at most. The
// error is a [*wire.Status] if the server answered otherwise, [wire.ErrProtocol] if it
// speaks another protocol, a [*wire.Interrupted] if it was reached but did not answer, or
// that of the network.
func Dial(ctx context.Context, client *http.Client, base *url.URL) (_ *Conn, err error) {
	var sent atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent.Store(true) }})
	shaking, cancel := context.WithTimeout(traced, handshakeTimeout)
	defer cancel()
	c := &Conn{welcome: wire.Welcome{Ping: wire.DefaultPing}}
	c.reading, c.cut = context.WithCancelCause(context.Background())
	c.silence = time.AfterFunc(c.patience(), func() { c.cut(errSilent) })
	defer func() {
		if err != nil {
			c.end()
		}
	}()
	socket, response, err := websocket.Dial(shaking, base.JoinPath("ws").String(), &websocket.DialOptions{
		HTTPClient:     client,
		Subprotocols:   []string{subprotocol},
		OnPingReceived: func(context.Context, []byte) bool { c.heard(); return true },
	})
	if err != nil {
		err = refusal(response, err)
		if response == nil && sent.Load() && ctx.Err() == nil {
			err = &wire.Interrupted{Err: err}
		}
		return nil, err
	}
	c.socket = socket
	if err := c.welcomed(shaking); err != nil {
		if _, said := errors.AsType[*wire.Close](err); !said && err != wire.ErrProtocol && ctx.Err() == nil {
			err = &wire.Interrupted{Err: err}
		}
		return nil, err
	}
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

// welcomed reads the first frame.
func (c *Conn) welcomed(ctx context.Context) error {
	if c.socket.Subprotocol() != subprotocol {
		return wire.ErrProtocol
	}
	c.socket.SetReadLimit(wire.FrameOverhead)
	_, data, err := c.socket.Read(ctx)
	if err != nil {
		return c.closed(err)
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
	c.heard()
	return nil
}

// Welcome returns what the server said first.
func (c *Conn) Welcome() wire.Welcome { return c.welcome }

func (c *Conn) patience() time.Duration { return 2*c.welcome.Ping + silenceSlack }

// heard postpones the end of a connection on which nothing is heard.
func (c *Conn) heard() { c.silence.Reset(c.patience()) }

// Read waits for the next frame. The error says why the connection has ended: a
// [*wire.Close] if the server closed it.
func (c *Conn) Read() (*wire.Frame, error) {
	kind, r, err := c.socket.Reader(c.reading)
	if err != nil {
		return nil, c.why(err)
	}
	if kind != websocket.MessageText {
		return nil, wire.ErrProtocol
	}
	c.buffer.Reset()
	if c.buffer.Cap() > wire.KeptBuffer {
		c.buffer = bytes.Buffer{}
	}
	if _, err := c.buffer.ReadFrom(pieces{r, c}); err != nil {
		return nil, c.why(err)
	}
	c.heard()
	f, err := wire.ParseFrame(c.buffer.Bytes())
	if err == nil && f.Type == "bye" {
		c.bye = f
	}
	return f, err
}

// pieces are the parts of a frame; each is a sign of life.
type pieces struct {
	io.Reader
	c *Conn
}

func (p pieces) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	p.c.heard()
	return n, err
}

// why returns the reason for the end of a connection in place of what reading made of it.
func (c *Conn) why(err error) error {
	if cause := context.Cause(c.reading); cause != nil {
		return cause
	}
	return c.closed(err)
}

// closed returns err as a [wire.Close] if the server closed the connection.
func (c *Conn) closed(err error) error {
	if e, ok := errors.AsType[websocket.CloseError](err); ok {
		out := &wire.Close{Code: int(e.Code), Reason: e.Reason}
		if c.bye != nil {
			out.Bye, out.After = c.bye.Code, time.Duration(c.bye.After)*time.Millisecond
		}
		return out
	}
	if errors.Is(err, websocket.ErrMessageTooBig) {
		return wire.ErrTooLarge
	}
	return fmt.Errorf("the connection broke: %w", err)
}

// Write sends a command. It blocks for 10 s at most.
func (c *Conn) Write(ctx context.Context, command *wire.Command) error {
	data, err := wire.Encode(command)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return c.socket.Write(ctx, websocket.MessageText, data)
}

// Close closes the connection, and waits until the server has closed it as well or ctx
// ends. A Read that is blocked returns.
func (c *Conn) Close(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { c.cut(errClosed) })()
	err := c.socket.Close(websocket.StatusNormalClosure, "")
	c.end()
	return err
}

// end frees what the connection holds.
func (c *Conn) end() {
	c.silence.Stop()
	if c.socket != nil {
		_ = c.socket.CloseNow() // nothing is to be sent any more
	}
	c.cut(errClosed)
}
