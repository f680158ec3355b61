//go:build linux

// Package bench_test measures whole servers from outside: scenarios that the
// benchmarks of the packages cannot show. RESULTS.md has the measured numbers.
package bench_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/internaltest/authtest"
	"github.com/ikornaselur/notiflux/internal/internaltest/frametest"
	"github.com/ikornaselur/notiflux/internal/internaltest/logtest"
	"github.com/ikornaselur/notiflux/internal/internaltest/rawclient"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// process is a server of its own, so that its memory is not the test's.
type process struct {
	url, admin, pid string
	signer          *auth.Signer
	log             *logtest.Buffer
}

func serve(t testing.TB, flags ...string) *process {
	t.Helper()
	return serveWithin(t, 0, flags...)
}

// serveWithin is serve with a limit on descriptors; 0: the test's own.
func serveWithin(t testing.TB, descriptors int, flags ...string) *process {
	t.Helper()
	return serveInheriting(t, descriptors, nil, flags...)
}

// serveInheriting is serveWithin where the server begins with files open.
func serveInheriting(t testing.TB, descriptors int, files []*os.File, flags ...string) *process {
	t.Helper()
	signer := authtest.NewSigner(t)
	dir := t.TempDir()
	key, binary := filepath.Join(dir, "es256_public.pem"), filepath.Join(dir, "notiflux")
	if err := os.WriteFile(key, signer.PublicPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-o", binary, "../cmd/notiflux").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	args := append([]string{binary, "serve", "--port=0", "--admin-addr=127.0.0.1:0", "--jwt-public-key-file=" + key}, flags...)
	if descriptors > 0 {
		args = append([]string{"sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, descriptors)}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	if descriptors > 0 {
		cmd.Env = append(os.Environ(), "GOMAXPROCS=2") // Each loop has descriptors of its own.
	}
	cmd.ExtraFiles = files
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		_, url, ok := strings.Cut(lines.Text(), " url=")
		url, admin, both := strings.Cut(url, " admin=")
		if ok && both {
			said := new(logtest.Buffer)
			go io.Copy(said, log)
			return &process{url, admin, strconv.Itoa(cmd.Process.Pid), signer, said}
		}
	}
	t.Fatal("the server does not say where it listens")
	return nil
}

func (p *process) token(t testing.TB, scope auth.Scope, topics ...pubsub.Topic) string {
	t.Helper()
	token, err := p.signer.Sign(auth.Grant{Subject: "bench", Scopes: []auth.Scope{scope}, Topics: topics, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	return string(token)
}

// connect opens a WebSocket with a receive buffer of so many bytes (0: the
// system's choice), and with more lines in its handshake.
func (p *process) connect(buffer int, more ...string) (net.Conn, error) {
	c, err := rawclient.Dial(p.url, buffer, 5*time.Minute)
	if err != nil {
		return nil, err
	}
	c.R = bufio.NewReader(iotest.OneByteReader(c)) // no more than the head
	if err := c.Upgrade(strings.Join(more, "")); err != nil {
		c.Close()
		return nil, fmt.Errorf("handshake: %w", err)
	}
	return c.Conn, nil
}

// subscribe connects, subscribes to topic t, and returns when that holds.
func (p *process) subscribe(t *testing.T, token string, buffer int) net.Conn {
	t.Helper()
	c, err := p.connect(buffer)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	frametest.WriteText(c, "/subscribe t "+token)
	frametest.WriteText(c, "/")
	if data, err := frametest.ReadText(c); err != nil || data != "Unknown command" {
		t.Fatalf("subscribe: %q, %v", data, err)
	}
	return c
}

// kilobytes returns a figure of /proc/PID/status.
func (p *process) kilobytes(t *testing.T, field string) int {
	t.Helper()
	status, err := os.ReadFile("/proc/" + p.pid + "/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), field+":")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// cpu returns how much processor time the server has taken.
func (p *process) cpu(t testing.TB) time.Duration {
	t.Helper()
	stat, err := os.ReadFile("/proc/" + p.pid + "/stat")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	var ticks time.Duration
	for _, field := range fields[11:13] { // utime and stime, of proc(5)
		n, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		ticks += time.Duration(n)
	}
	return ticks * time.Second / 100 // USER_HZ is 100 everywhere
}
