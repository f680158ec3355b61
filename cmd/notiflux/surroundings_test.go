//go:build unix

package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/internaltest/authtest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// daemon is a server that runs as a separate process.
type daemon struct {
	*exec.Cmd
	t   *testing.T
	url string
	log *output
	in  *os.File // the reading end of its standard error
}

// host is what daemons of a test share.
type host struct {
	t      *testing.T
	signer *auth.Signer
	key    string
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{t: t, signer: authtest.NewSigner(t), key: filepath.Join(t.TempDir(), "es256_public.pem")}
	if err := os.WriteFile(h.key, h.signer.PublicPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	return h
}

// start runs a server by a line of shell, in which "$@" is its command line, and
// returns once it listens. The end of the test kills it.
func (h *host) start(shell string, listener *os.File, flags ...string) *daemon {
	h.t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		h.t.Fatal(err)
	}
	args := append([]string{"-c", shell, "sh", "notiflux", "serve", "--port=0", "--admin-addr=", "--jwt-public-key-file=" + h.key}, flags...)
	d := &daemon{Cmd: exec.Command("sh", args...), t: h.t, log: newOutput(), in: read}
	d.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	d.Stderr = write
	if listener != nil {
		d.ExtraFiles = []*os.File{listener}
	}
	if err := d.Start(); err != nil {
		h.t.Fatal(err)
	}
	write.Close()
	h.t.Cleanup(func() { d.Process.Kill(); d.Wait(); read.Close() })
	lines := bufio.NewScanner(read)
	for lines.Scan() {
		fmt.Fprintln(d.log, lines.Text())
		if _, url, ok := strings.Cut(lines.Text(), " url="); ok {
			d.url, _, _ = strings.Cut(url, " ")
			return d
		}
	}
	text, _ := d.log.read()
	h.t.Fatalf("the server does not listen:\n%s", text)
	return nil
}

// follow keeps what the server logs from now on.
func (d *daemon) follow() { go io.Copy(d.log, d.in) }

// end sends signals and waits for the exit status, which must be 0.
func (d *daemon) end(signals ...syscall.Signal) {
	d.t.Helper()
	for _, s := range signals {
		if err := d.Process.Signal(s); err != nil {
			d.t.Fatal(err)
		}
	}
	if err := d.Wait(); err != nil {
		text, _ := d.log.read()
		d.t.Errorf("the server ended with %v, want status 0\n%s", err, text)
	}
}

// message returns a body for /broadcast.
func (h *host) message() (string, error) {
	token, err := h.signer.Sign(auth.Grant{Subject: "test", Scopes: []auth.Scope{auth.Broadcast}, Topics: []pubsub.Topic{"t"}, Expires: time.Now().Add(time.Hour)})
	return `{"topic":"t","message":1,"token":"` + string(token) + `"}`, err
}

func (h *host) broadcast(client *http.Client, url string) (int, error) {
	body, err := h.message()
	if err != nil {
		return 0, err
	}
	r, err := client.Post(url+"/broadcast", "application/json", strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	_, err = io.Copy(io.Discard, r.Body)
	return r.StatusCode, err
}

// A server continues and drains normally when nobody reads its log any longer.
func TestTheReaderOfTheLogGoesAway(t *testing.T) {
	h := newHost(t)
	d := h.start(`exec "$@"`, nil, "--log-level=debug")
	d.in.Close()
	for range 3 { // Each is logged.
		r, err := http.Post(d.url+"/broadcast", "", strings.NewReader("no JSON"))
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != http.StatusBadRequest {
			t.Errorf("a refused publish: %s, want 400", r.Status)
		}
	}
	if status, err := h.broadcast(http.DefaultClient, d.url); status != http.StatusOK {
		t.Errorf("publish: %d, %v; want 200", status, err)
	}
	d.end(syscall.SIGTERM)
}

func TestSignalsThatDrain(t *testing.T) {
	// Under nohup this process ignores SIGHUP, and so would the servers that it starts. A
	// signal that it catches is not ignored by them.
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGHUP)
	defer signal.Stop(caught)
	h := newHost(t)
	for _, test := range []struct {
		name    string
		signals []syscall.Signal
	}{
		{"the terminal hangs up", []syscall.Signal{syscall.SIGHUP}},
		{"and its shell says so, too", []syscall.Signal{syscall.SIGHUP, syscall.SIGHUP}},
		{"systemd with SendSIGHUP=", []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP}},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := h.start(`exec "$@"`, nil)
			d.follow()
			d.end(test.signals...)
			awaitText(t, d.log, "msg=stopped")
		})
	}
}

// awaitText waits until o holds text.
func awaitText(t *testing.T, o *output, text string) {
	t.Helper()
	limit := time.After(patience)
	for {
		got, changed := o.read()
		if strings.Contains(got, text) {
			return
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("no %q in\n%s", text, got)
		}
	}
}

// With nohup, a server outlives its terminal.
func TestNohup(t *testing.T) {
	h := newHost(t)
	d := h.start(`trap "" HUP; exec "$@"`, nil)
	d.follow()
	if err := d.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if status, err := h.broadcast(http.DefaultClient, d.url); status != http.StatusOK {
			t.Fatalf("publish after SIGHUP: %d, %v; want 200", status, err)
		}
	}
	if text, _ := d.log.read(); strings.Contains(text, "shutting down") {
		t.Errorf("SIGHUP drains although it was ignored at start:\n%s", text)
	}
	d.end(syscall.SIGTERM)
}
