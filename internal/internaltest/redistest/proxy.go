package redistest

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// A Proxy passes connections on to a server, until it is cut.
type Proxy struct {
	Addr string

	listener net.Listener
	passing  sync.WaitGroup

	mu sync.Mutex
	// Guarded by mu.
	target             string
	cut                bool
	held               bool
	toServer, toClient Way
	gates              map[*gate]bool
	changed            *sync.Cond // of held and of gates
}

// A Way is how a proxy passes bytes on in one direction. The zero value passes them at once.
type Way struct {
	Delay time.Duration // before each piece
	Piece int           // maximum size of a piece, in bytes; 0: no limit
}

// NewProxy starts a proxy, which ends with the test.
func NewProxy(t testing.TB, target string) *Proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Addr: l.Addr().String(), target: target, listener: l, gates: make(map[*gate]bool)}
	p.changed = sync.NewCond(&p.mu)
	p.passing.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.Cut()
		p.passing.Wait()
	})
	return p
}

func (p *Proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.passing.Go(func() { p.pass(c) })
	}
}

func (p *Proxy) pass(c net.Conn) {
	defer c.Close()
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	to, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer to.Close()
	client, server := &gate{Conn: c, p: p, way: &p.toServer}, &gate{Conn: to, p: p, way: &p.toClient, server: true}
	if !p.add(client, server) {
		return
	}
	var copying sync.WaitGroup
	copying.Go(func() {
		_, _ = io.Copy(to, client)
		to.Close()
	})
	_, _ = io.Copy(c, server)
	c.Close()
	copying.Wait()
	p.remove(client, server)
}

func (p *Proxy) add(all ...*gate) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut {
		return false
	}
	for _, g := range all {
		p.gates[g] = true
	}
	return true
}

func (p *Proxy) remove(all ...*gate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, g := range all {
		delete(p.gates, g)
	}
}

// A gate is what the proxy reads from one side of a connection.
type gate struct {
	net.Conn
	p      *Proxy
	way    *Way // guarded by p.mu
	server bool // it reads from the server

	// Guarded by p.mu.
	swallows bool
	cut      bool
}

// Read reads what the proxy passes on.
func (g *gate) Read(b []byte) (int, error) {
	if piece := g.now().Piece; piece > 0 {
		b = b[:min(len(b), piece)]
	}
	for {
		n, err := g.Conn.Read(b)
		if delay := g.now().Delay; delay > 0 {
			<-time.After(delay)
		}
		swallowed, cut := g.wait(err == io.EOF)
		switch {
		case cut:
			return 0, net.ErrClosed
		case err != nil || !swallowed:
			return n, err
		}
	}
}

func (g *gate) now() Way {
	g.p.mu.Lock()
	defer g.p.mu.Unlock()
	return *g.way
}

// wait waits until the proxy may pass on what it has read. It never passes on the end of what
// it swallows.
func (g *gate) wait(end bool) (swallowed, cut bool) {
	g.p.mu.Lock()
	defer g.p.mu.Unlock()
	for !g.cut && (g.server && g.p.held || g.swallows && end) {
		g.p.changed.Wait()
	}
	return g.swallows, g.cut
}

// Cut ends all connections, and further ones as soon as they are made.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = true
	for g := range p.gates {
		g.cut = true
		g.Close()
	}
	p.changed.Broadcast()
}

// Mend lets connections through again.
func (p *Proxy) Mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = false
}

// Hold withholds what the server sends from now on.
func (p *Proxy) Hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = true
}

// Swallow makes the connections that there are half-open: from now on nothing arrives that
// their clients send, or their server, or both. The sender does not notice. Further
// connections are whole.
func (p *Proxy) Swallow(ofClients, ofServer bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for g := range p.gates {
		if g.server && ofServer || !g.server && ofClients {
			g.swallows = true
		}
	}
	p.changed.Broadcast()
}

// Slow sets how the proxy passes bytes on.
func (p *Proxy) Slow(toServer, toClient Way) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.toServer, p.toClient = toServer, toClient
}

// Move makes further connections go to another server, and ends those that there are.
func (p *Proxy) Move(target string) {
	p.Cut()
	p.mu.Lock()
	p.target = target
	p.mu.Unlock()
	p.Mend()
}
