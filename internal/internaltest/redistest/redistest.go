// Package redistest starts servers of Redis or Valkey for tests, and cuts the connections to
// them.
package redistest

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A Server is a process that listens on a loopback port of its own.
type Server struct {
	Addr string

	t       testing.TB
	dir     string
	first   []string // arguments before those that Run adds
	args    []string // arguments after them
	process *exec.Cmd
}

// Start starts a server without persistence, and with further arguments. It skips the test
// if redis-server is not installed, unless the tests run in CI. The server ends with the test.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("needs redis-server (Debian: redis-server)")
		}
		t.Skip("needs redis-server (Debian: redis-server)")
	}
	s := &Server{t: t, Addr: freeAddress(t), dir: t.TempDir(), args: args}
	s.Run()
	t.Cleanup(s.Kill)
	return s
}

// freeAddress returns a loopback address that no program listens on.
func freeAddress(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Run starts the process, and waits until it listens.
func (s *Server) Run() {
	s.t.Helper()
	host, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		s.t.Fatal(err)
	}
	log := filepath.Join(s.dir, "log")
	all := append(slices.Clone(s.first), "--bind", host, "--port", port, "--dir", s.dir, "--logfile", log)
	if s.first == nil {
		all = append(all, "--save", "", "--enable-debug-command", "local")
	}
	s.process = exec.Command("redis-server", append(all, s.args...)...)
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	for range 1000 {
		if c, err := net.Dial("tcp", s.Addr); err == nil {
			c.Close()
			return
		}
		<-time.After(10 * time.Millisecond)
	}
	text, _ := os.ReadFile(log)
	s.t.Fatalf("redis-server does not listen on %s: %s", s.Addr, text)
}

// Kill ends the process at once, as kill -9 does.
func (s *Server) Kill() {
	if s.process != nil {
		_ = s.process.Process.Kill()
		_ = s.process.Wait()
		s.process = nil
	}
}

// Follow makes s a replica of another server, and waits until it is up to date.
func (s *Server) Follow(primary *Server) { s.FollowAddress(primary.Addr) }

// FollowAddress is Follow with the address of the other server, or of a proxy.
func (s *Server) FollowAddress(address string) {
	s.t.Helper()
	host, port, _ := net.SplitHostPort(address)
	s.Client("REPLICAOF", host, port)
	for !strings.Contains(s.Client("INFO", "replication"), "master_link_status:up") {
		<-time.After(10 * time.Millisecond)
	}
}

// StartSentinel starts a sentinel that alone decides about failovers of a primary.
func StartSentinel(t testing.TB, name string, primary *Server) *Server {
	t.Helper()
	host, port, _ := net.SplitHostPort(primary.Addr)
	file := filepath.Join(t.TempDir(), "sentinel.conf")
	settings := fmt.Sprintf("sentinel monitor %s %s %s 1\nsentinel down-after-milliseconds %[1]s 500\nsentinel failover-timeout %[1]s 2000\n", name, host, port)
	if err := os.WriteFile(file, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, Addr: freeAddress(t), dir: t.TempDir(), first: []string{file, "--sentinel"}}
	s.Run()
	t.Cleanup(s.Kill)
	return s
}

// A Proxy passes connections on to a server, until it is cut.
type Proxy struct {
	Addr string

	listener net.Listener
	passing  sync.WaitGroup

	mu sync.Mutex
	// Guarded by mu.
	target  string
	cut     bool
	held    bool
	changed *sync.Cond // of held and cut
	conns   map[net.Conn]bool
}

// NewProxy starts a proxy, which ends with the test.
func NewProxy(t testing.TB, target string) *Proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Addr: l.Addr().String(), target: target, listener: l, conns: make(map[net.Conn]bool)}
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
	if !p.add(c, to) {
		return
	}
	var copying sync.WaitGroup
	copying.Go(func() {
		_, _ = io.Copy(to, c)
		to.Close()
	})
	_, _ = io.Copy(c, gate{to, p})
	c.Close()
	copying.Wait()
	p.remove(c, to)
}

func (p *Proxy) add(all ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut {
		return false
	}
	for _, c := range all {
		p.conns[c] = true
	}
	return true
}

func (p *Proxy) remove(all ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range all {
		delete(p.conns, c)
	}
}

// Cut ends all connections, and further ones as soon as they are made.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = true
	p.changed.Broadcast()
	for c := range p.conns {
		c.Close()
	}
}

// Mend lets connections through again.
func (p *Proxy) Mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = false
}

// A gate withholds what the server sends while the proxy holds it.
type gate struct {
	net.Conn
	p *Proxy
}

func (g gate) Read(b []byte) (int, error) {
	n, err := g.Conn.Read(b)
	g.p.mu.Lock()
	defer g.p.mu.Unlock()
	for g.p.held && !g.p.cut {
		g.p.changed.Wait()
	}
	if g.p.cut {
		return 0, net.ErrClosed
	}
	return n, err
}

// Hold withholds what the server sends from now on.
func (p *Proxy) Hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = true
}

// Move makes further connections go to another server, and ends those that there are.
func (p *Proxy) Move(target string) {
	p.Cut()
	p.mu.Lock()
	p.target = target
	p.mu.Unlock()
	p.Mend()
}

// Client runs a command of redis-cli, and returns what it prints.
func (s *Server) Client(args ...string) string {
	s.t.Helper()
	host, port, _ := net.SplitHostPort(s.Addr)
	out, err := exec.Command("redis-cli", append([]string{"-h", host, "-p", port}, args...)...).CombinedOutput()
	if err != nil {
		s.t.Fatal(fmt.Errorf("redis-cli %v: %w: %s", args, err, out))
	}
	return string(out)
}
