// Package redistest starts servers of Redis or Valkey for tests, and cuts the connections to
// them.
package redistest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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

// Servers get ports from firstPort on. Where a program leaves the choice to the system, it takes
// a higher one. So the port of a server that was killed is free when it starts again.
const (
	firstPort = 10_000
	ranges    = 22    // of ports; a process of tests has one to itself
	rangeSize = 1_000 // ports; the process listens on the first one, which claims the range
)

// ports counts the ports that this process has tried.
var ports atomic.Int64

// claim returns a listener on the first port of a range, which no other process of tests uses
// until this one ends. It is nil if all ranges are in use.
var claim = sync.OnceValue(func() net.Listener {
	for i := range ranges {
		first := firstPort + (os.Getpid()+i)%ranges*rangeSize
		if l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", first)); err == nil {
			return l
		}
	}
	return nil
})

// freeAddress returns a loopback address that no program listens on.
func freeAddress(t testing.TB) string {
	claimed := claim()
	if claimed == nil {
		t.Fatal("too many processes of tests use Redis at once")
	}
	first := int64(claimed.Addr().(*net.TCPAddr).Port)
	for range rangeSize {
		port := first + 1 + ports.Add(1)%(rangeSize-1)
		if l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port)); err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no port is free")
	return ""
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

// Log returns what the server has logged.
func (s *Server) Log() string {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}
