//go:build unix

package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// activate has the shell say to the server that it was started with a listener.
const activate = `export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@"`

// listen returns the address and the descriptor of a listener that outlives servers.
func listen(t *testing.T) (url string, file *os.File) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if file, err = l.(*net.TCPListener).File(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return "http://" + l.Addr().String(), file
}

// While servers that were given one listener follow each other, no publisher is refused.
func TestRestartRefusesNoPublisher(t *testing.T) {
	for _, order := range []string{"one after the other", "overlapping"} {
		t.Run(order, func(t *testing.T) {
			h := newHost(t)
			url, listener := listen(t)
			old := h.start(activate, listener)
			old.follow()
			if old.url != url {
				t.Fatalf("the server listens on %s, want %s, which it was given", old.url, url)
			}
			stop, news := make(chan struct{}), make(chan struct{}, 1)
			var published atomic.Int64
			var publishers sync.WaitGroup
			more := func() { // waits until 50 more are published
				for want := published.Load() + 50; published.Load() < want && !t.Failed(); {
					<-news
				}
			}
			for i := range 8 {
				publishers.Go(func() {
					client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: i%2 == 0}}
					defer client.CloseIdleConnections()
					for {
						select {
						case <-stop:
							return
						default:
						}
						if status, err := h.broadcast(client, url); status != http.StatusOK {
							t.Errorf("publisher %d: %d, %v; want 200", i, status, err)
						}
						published.Add(1)
						select {
						case news <- struct{}{}:
						default:
						}
					}
				})
			}
			for range 3 {
				more()
				if order == "overlapping" {
					next := h.start(activate, listener)
					next.follow()
					old.end(syscall.SIGTERM)
					old = next
				} else {
					old.end(syscall.SIGTERM)
					old = h.start(activate, listener)
					old.follow()
				}
			}
			more()
			close(stop)
			publishers.Wait()
			old.end(syscall.SIGTERM)
		})
	}
}

// Publishers whose connections the system accepted before the server did are served
// although it shuts down.
func TestQueuedPublishersAreServed(t *testing.T) {
	h := newHost(t)
	d := h.start(`exec "$@"`, nil)
	d.follow()
	body, err := h.message()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var queued []net.Conn
	for range 200 {
		c, err := net.Dial("tcp", strings.TrimPrefix(d.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		fmt.Fprintf(c, "POST /broadcast HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		queued = append(queued, c)
	}
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGCONT} {
		if err := d.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	refused := 0
	for _, c := range queued {
		if r, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || r.StatusCode != http.StatusOK {
			refused++
			t.Logf("%v, %v", r, err)
		}
	}
	if refused > 0 {
		t.Errorf("%d of %d publishers were refused", refused, len(queued))
	}
	if err := d.Wait(); err != nil {
		t.Errorf("the server ended with %v, want status 0", err)
	}
}

func TestPassedListenersThatCannotServe(t *testing.T) {
	h := newHost(t)
	local, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	unix, err := local.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close()
	for shell, want := range map[string]string{
		`export LISTEN_PID=$$ LISTEN_FDS=2; exec "$@"`:    "LISTEN_FDS is 2: pass exactly one socket",
		`export LISTEN_PID=$$ LISTEN_FDS=some; exec "$@"`: `LISTEN_FDS is "some": it must be the number`,
		activate: "pass a TCP socket",
	} {
		c := exec.Command("sh", "-c", shell, "sh", "notiflux", "serve", "--admin-addr=", "--jwt-public-key-file="+h.key)
		c.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
		c.ExtraFiles = []*os.File{unix}
		if out, err := c.CombinedOutput(); err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v, %s; want an error with %q", shell, err, out, want)
		}
	}
	d := h.start(`export LISTEN_PID=1 LISTEN_FDS=1; exec "$@"`, unix) // Sockets of another process are left alone.
	d.follow()
	d.end(syscall.SIGTERM)
}
