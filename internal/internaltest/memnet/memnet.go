// Package memnet is an in-memory network for tests. Its listeners and connections behave like
// those of TCP. It has no goroutines, file descriptors or clock, so a whole server and its
// clients can run in a testing/synctest bubble.
//
// A [Network] has [Listener]s and [Link]s. A Link connects one client to the network, with a
// latency and a window. A connection that is dialed over a link is a pair of [Conn]s:
//
//   - A written byte arrives after the latency, and so do the end of the data, a reset, and the
//     acknowledgement of the reader.
//   - At most a window of unacknowledged bytes is in flight per direction. Write blocks while
//     the window is full.
//   - After CloseWrite or Close, the peer still receives
//     the bytes that were written before, and then the end. Closing a connection with unread
//     bytes resets it, and so does writing to a closed one.
//   - Deadlines and errors are those of package net.
//
// Tests disturb connections with [Link.Stall], [Link.Cut], [Conn.CutAfter] and [Conn.Reset].
//
// Everything that waits uses a sync.Cond or a channel, which block durably in a bubble. The
// HTTP/2 code of net/http holds locks while it writes. In a bubble it needs a window that is
// never full, because time stops when a second goroutine wants such a lock.
//
// Nothing is random: bytes written at the same instant arrive at the same instant, and a Read
// returns all of them that fit. With a latency, the time at which a client reads something does
// not depend on the order in which goroutines run within an instant.
package memnet

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// DefaultWindow is the window of a [Link] that is configured with none.
const DefaultWindow = 64 << 10

// firstPort is the first port that a listener without one, or a dialer, gets.
const firstPort = 49152

// A Network connects listeners and links. Make one with New. Safe for concurrent use.
type Network struct {
	mu sync.Mutex
	// Guarded by mu.
	listeners map[string]*Listener // by address
	links     int
	port      int // assigned to the last listener
}

// New returns a network without listeners.
func New() *Network {
	return &Network{listeners: make(map[string]*Listener), port: firstPort - 1}
}

// Listen opens a listener. The address is an IP address and a port, as in
// 10.0.0.1:80. With port 0 the network chooses a free port.
func (n *Network) Listen(address string) (*Listener, error) {
	fail := func(err error) (*Listener, error) {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Err: fmt.Errorf("%q: %w", address, err)}
	}
	addr, err := parseAddress(address)
	if err != nil {
		return fail(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for chosen := addr.Port == 0; chosen && (addr.Port == 0 || n.listeners[addr.String()] != nil); {
		n.port++
		addr.Port = n.port
	}
	if n.listeners[addr.String()] != nil {
		return fail(syscall.EADDRINUSE)
	}
	l := &Listener{network: n, addr: addr}
	l.changed.L = &l.mu
	n.listeners[addr.String()] = l
	return l, nil
}

func parseAddress(address string) (*net.TCPAddr, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	addr := &net.TCPAddr{IP: net.ParseIP(host)}
	if addr.IP == nil {
		return nil, fmt.Errorf("host %q is not an IP address", host)
	}
	if addr.Port, err = strconv.Atoi(port); err != nil || addr.Port < 0 || addr.Port > 65535 {
		return nil, fmt.Errorf("port %q is not a number up to 65535", port)
	}
	return addr, nil
}

// listener returns the listener of an address, nil if there is none.
func (n *Network) listener(addr *net.TCPAddr) *Listener {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.listeners[addr.String()]
}

// A LinkConfig says what a link is like. Its zero value is a link without latency and
// with the default window.
type LinkConfig struct {
	Latency time.Duration // from one end to the other
	Window  int           // bytes per connection and direction that are written and not taken; 0: DefaultWindow

	// Opened is called with each new connection, the dialer's end, before a byte of
	// it moves. It may call the methods of the Conn that disturb it. Nil: not called.
	Opened func(*Conn)
}

// A Link is the way from a client to the network. All connections that the client
// dials share it. Safe for concurrent use.
type Link struct {
	// Immutable after Network.Link.
	network *Network
	config  LinkConfig
	ip      net.IP

	mu sync.Mutex
	// Guarded by mu.
	port    int           // of the last dial
	pairs   []*pair       // connections with an end that is not closed, oldest first
	stalled chan struct{} // closed by Release; nil: the link is not stalled
}

// Link returns a new link. Clients have the addresses 10.1.0.1, 10.1.0.2 and so on,
// in the order in which their links were made.
func (n *Network) Link(c LinkConfig) *Link {
	if c.Window == 0 {
		c.Window = DefaultWindow
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.links++
	return &Link{network: n, config: c, ip: net.IPv4(10, 1, byte(n.links>>8), byte(n.links)), port: firstPort - 1}
}

// DialContext connects to a listener. It takes two latencies, as the handshake of TCP
// does, and does not wait until the listener accepts. Its parameters are those of
// [net.Dialer.DialContext].
func (l *Link) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	addr, err := parseAddress(address)
	if err == nil && network != "tcp" && network != "tcp4" {
		err = net.UnknownNetworkError(network)
	}
	fail := func(err error) (net.Conn, error) {
		e := &net.OpError{Op: "dial", Net: network, Err: err}
		if addr != nil {
			e.Addr = addr
		}
		return nil, e
	}
	if err != nil {
		return fail(err)
	}
	l.mu.Lock()
	l.port++
	local := &net.TCPAddr{IP: l.ip, Port: l.port}
	l.mu.Unlock()
	if err := l.travel(ctx); err != nil {
		return fail(err)
	}
	var client *Conn
	listener := l.network.listener(addr)
	if listener != nil {
		client = l.connect(local, listener)
	}
	if err := l.travel(ctx); err != nil {
		if client != nil {
			client.Reset()
		}
		return fail(err)
	}
	if client == nil {
		return fail(os.NewSyscallError("connect", syscall.ECONNREFUSED))
	}
	return client, nil
}

// travel waits for the latency, and for the end of a stall.
func (l *Link) travel(ctx context.Context) error {
	if l.config.Latency > 0 {
		timer := time.NewTimer(l.config.Latency)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	for ctx.Err() == nil {
		l.mu.Lock()
		stalled := l.stalled
		l.mu.Unlock()
		if stalled == nil {
			return nil
		}
		select {
		case <-stalled:
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// connect makes a connection and gives its other end to the listener. It returns nil
// if the listener has closed.
func (l *Link) connect(local *net.TCPAddr, to *Listener) *Conn {
	l.mu.Lock()
	p := newPair(l, local, to.addr)
	p.stalled = l.stalled != nil
	l.pairs = append(l.pairs, p)
	l.mu.Unlock()
	if l.config.Opened != nil {
		l.config.Opened(p.ends[Up])
	}
	if !to.give(p.ends[Down]) {
		l.forget(p)
		return nil
	}
	return p.ends[Up]
}

// forget removes a connection of which both ends are closed.
func (l *Link) forget(p *pair) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pairs = slices.DeleteFunc(l.pairs, func(other *pair) bool { return other == p })
}

// Stall holds back everything on the link until Release: bytes, ends and resets in flight, and
// dials. Bytes that have arrived can be read, and writes succeed until the window is full.
func (l *Link) Stall() { l.setStalled(true) }

// Release ends a stall. Everything that was held back arrives at once.
func (l *Link) Release() { l.setStalled(false) }

func (l *Link) setStalled(stalled bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if stalled == (l.stalled != nil) {
		return
	}
	if stalled {
		l.stalled = make(chan struct{})
	} else {
		close(l.stalled)
		l.stalled = nil
	}
	for _, p := range l.pairs {
		p.setStalled(stalled)
	}
}

// Cut ends all connections of the link at once, as [Conn.CutAfter] does.
func (l *Link) Cut(how End) {
	l.mu.Lock()
	pairs := slices.Clone(l.pairs)
	l.mu.Unlock()
	for _, p := range pairs {
		p.ends[Up].CutAfter(Down, 0, how)
	}
}

// Open returns how many connections of the link have an end that is not closed.
func (l *Link) Open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.pairs)
}
