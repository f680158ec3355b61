package listen

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/ikornaselur/notiflux/internal/forwarded"
)

// headerTimeout limits how long a proxy may take for the header of the PROXY protocol.
const headerTimeout = 5 * time.Second

// A proxied says where a connection to a listener comes from that takes the PROXY protocol. Its
// methods are safe for concurrent use.
type proxied struct {
	once sync.Once
	// Set once.
	addr   net.Addr // of the client
	failed bool     // there is no valid header

	refused bool // there is a header that must not be there; owned by the goroutine that reads

	begun bool // bytes after the header were read; owned by the goroutine that reads
}

// RemoteAddr returns the address of the client. If a trusted proxy forwards the connection, that is
// the address in its header, which RemoteAddr first reads: it may block for [headerTimeout].
// net/http calls it on the goroutine of the connection, before it reads.
func (c *conn) RemoteAddr() net.Addr {
	if c.proxied == nil {
		return c.socket.RemoteAddr()
	}
	c.proxied.once.Do(c.readHeader)
	return c.proxied.addr
}

// Read implements [net.Conn].
func (c *conn) Read(p []byte) (n int, err error) {
	if c.proxied == nil {
		return c.socket.Read(p)
	}
	c.proxied.once.Do(c.readHeader)
	if c.proxied.failed || c.proxied.refused {
		return 0, io.EOF // net/http answers some other errors
	}
	n, err = c.socket.Read(p)
	if !c.proxied.begun && n > 0 {
		c.proxied.begun = true
		if forwarded.BeginsHeader(p[:n]) {
			c.refuseHeader()
			return 0, io.EOF
		}
	}
	return n, err
}

// readHeader reads the header if the peer is a trusted proxy.
func (c *conn) readHeader() {
	p, l := c.proxied, c.limiter
	p.addr = c.socket.RemoteAddr()
	if !l.config.Proxies.Trust(p.addr) {
		return
	}
	deadline := time.Now().Add(headerTimeout)
	r := &headerReader{c.socket, deadline, 0}
	_ = c.socket.SetReadDeadline(deadline)
	client, err := forwarded.ReadHeader(r)
	_ = c.socket.SetReadDeadline(time.Time{})
	switch {
	case err == nil && client.IsValid():
		p.addr = net.TCPAddrFromAddrPort(client)
	case err == nil:
	default:
		p.failed = true
		if r.n > 0 && !errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) { // else it is only a check that the port is open
			l.warn(&l.headless, "a trusted proxy sent no valid header of the PROXY protocol, so its connection was closed; turn the protocol on in the proxy, or the setting off here", p.addr, err)
		}
	}
}

// warn logs why a connection ends: as a warning once a minute, otherwise for debugging.
func (l *Limiter) warn(w *warning, message string, remote net.Addr, err error) {
	level := slog.LevelDebug
	if w.due() {
		level = slog.LevelWarn
	}
	attrs := []any{"remote", remote.String(), "setting", l.config.ProxySetting}
	if err != nil {
		attrs = append(attrs, "err", err)
	}
	l.config.Log.Log(context.Background(), level, message, attrs...)
}

// refuseHeader ends the connection because of a header that is not expected.
func (c *conn) refuseHeader() {
	c.proxied.refused = true
	c.limiter.warn(&c.limiter.forged, "a header of the PROXY protocol came from an address that is not a trusted proxy, or came twice, so the connection was closed", c.proxied.addr, nil)
}

// A headerReader reads a header until the deadline.
type headerReader struct {
	socket   socket
	deadline time.Time
	n        int // bytes that were read
}

// Read implements [io.Reader].
func (r *headerReader) Read(p []byte) (n int, err error) {
	for {
		n, err = r.socket.Read(p)
		r.n += n
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) || !time.Now().Before(r.deadline) {
			return n, err
		}
		_ = r.socket.SetReadDeadline(r.deadline) // A shutdown wakes connections that wait for a request. This one may have one.
	}
}
