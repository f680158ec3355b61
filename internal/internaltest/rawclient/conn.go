// Package rawclient speaks the protocols of the server byte by byte. Apart from the codec
// of WebSocket frames it shares no code with the server, so it does not repeat the mistakes
// of the server.
//
// A [Conn] is one connection. It can be cut after a given number of bytes. It reads and writes
// what a client does: heads of HTTP responses, chunks, events, lines and WebSocket frames.
// Functions of package rawclient return errors and never end the test themselves, so that
// tests can use them in any goroutine.
//
// A [Reader] follows topics over many connections, in one of the [Dialect]s, and remembers
// what a real client would. It records what it receives, so that package delivery can check
// it.
package rawclient

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"strings"
	"time"
)

var (
	// ErrCut is the end of a connection that was cut after In or Out bytes.
	ErrCut = errors.New("cut")
	// ErrEnded is the end of a connection that the server ended.
	ErrEnded = errors.New("the server ended the connection")
)

// A Conn is a connection that can be cut. It belongs to one goroutine.
type Conn struct {
	net.Conn
	R *bufio.Reader // reads from this Conn

	// How many bytes may still be read from the connection and written to it before
	// it is cut. Without a cut, both are math.MaxInt.
	In, Out int
}

// New returns a Conn that is not cut.
func New(c net.Conn) *Conn {
	w := &Conn{Conn: c, In: math.MaxInt, Out: math.MaxInt}
	w.R = bufio.NewReader(w)
	return w
}

// Dial connects to a server by its URL, http://host:port. The kernel holds about
// buffer received bytes; 0 is the system's choice. Reads and writes fail after patience.
func Dial(url string, buffer int, patience time.Duration) (*Conn, error) {
	d := net.Dialer{Control: receiveBuffer(buffer)}
	c, err := d.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		return nil, err
	}
	return New(c), c.SetDeadline(time.Now().Add(patience))
}

func (c *Conn) Read(p []byte) (int, error) {
	if c.In == 0 {
		return 0, ErrCut
	}
	n, err := c.Conn.Read(p[:min(len(p), c.In)])
	c.In -= n
	return n, err
}

func (c *Conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p[:min(len(p), c.Out)])
	c.Out -= n
	if err == nil && n < len(p) {
		err = ErrCut
	}
	return n, err
}

// Quiet returns nil if nothing arrives for a moment.
func (c *Conn) Quiet() error {
	if err := c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		return err
	}
	b, err := c.R.Peek(1)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return fmt.Errorf("after the last message came %q, %v", b, err)
}

// ended returns ErrEnded for an error that says that the server ended the connection.
func ended(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrEnded
	}
	return err
}
