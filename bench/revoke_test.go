//go:build linux

package bench_test

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/internaltest/frametest"
	"github.com/ikornaselur/notiflux/internal/internaltest/redistest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/wire"
)

var revocable = flag.Int("revocable", 200, "users with a connection each, beside those that are revoked; RESULTS.md has 10,000")

const revoked = 20 // users, one after the other, each with a connection to either server

// A user has one connection, and receives the messages 0, 1, 2, … of the topic t.
type user struct {
	conn     net.Conn
	received int
	ended    time.Time
	err      error // why it ended
}

// login connects a user with a token of its own.
func login(t *testing.T, p *process, name string) *user {
	t.Helper()
	token, err := p.signer.Sign(auth.Grant{Subject: name, Scopes: []auth.Scope{auth.Subscribe}, Topics: []pubsub.Topic{"t"}, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	return &user{conn: p.subscribe(t, string(token), 0)}
}

// read receives messages until the connection ends, or the last message.
func (u *user) read(last string, total *atomic.Int64) {
	for {
		text, err := frametest.ReadText(u.conn)
		if err != nil {
			u.ended, u.err = time.Now(), err
			return
		}
		if text == last {
			return
		}
		if text != strconv.Itoa(u.received) {
			u.err = fmt.Errorf("got message %q, want %d", text, u.received)
			return
		}
		u.received++
		total.Add(1)
	}
}

// Of many users on two servers that share Redis, some are revoked between messages:
// both servers end their connections, and all others receive all messages.
func TestRevokeOnTwoServers(t *testing.T) {
	redis := redistest.Start(t)
	servers := []*process{serve(t, "--broker=redis://"+redis.Addr), serve(t, "--broker=redis://"+redis.Addr)}
	for _, p := range servers {
		p.awaitReady(t)
	}
	var all sync.WaitGroup
	var total atomic.Int64 // messages that users received
	const last = "last"
	begin := func(u *user) *user {
		all.Go(func() { u.read(last, &total) })
		return u
	}
	others := make([]*user, *revocable)
	for i := range others {
		others[i] = begin(login(t, servers[i%2], fmt.Sprint("user ", i)))
	}
	victims := make([][]*user, revoked)
	for i := range victims {
		for _, p := range servers {
			victims[i] = append(victims[i], begin(login(t, p, fmt.Sprint("victim ", i))))
		}
	}

	broadcast := servers[0].token(t, auth.Broadcast, "t")
	var began []time.Time
	for i, sent := 0, 0; i < revoked; i++ {
		post(t, servers[0].url+"/broadcast", fmt.Sprintf(`{"topic":"t","message":"%d","token":%q}`, i, broadcast))
		sent += len(others) + 2*(revoked-i)
		for deadline := time.Now().Add(time.Minute); total.Load() < int64(sent); <-time.After(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d messages were received, want %d", total.Load(), sent)
			}
		}
		began = append(began, time.Now())
		answer := post(t, servers[i%2].admin+"/api/v1/revocations", fmt.Sprintf(`{"sub":"victim %d"}`, i))
		if !strings.Contains(answer, `"connections":2`) {
			t.Errorf("the answer is %s, want 2 connections", answer)
		}
	}
	post(t, servers[1].url+"/broadcast", fmt.Sprintf(`{"topic":"t","message":%q,"token":%q}`, last, servers[1].token(t, auth.Broadcast, "t")))
	all.Wait()

	for i, u := range others {
		if u.err != nil || u.received != revoked {
			t.Fatalf("user %d received %d of %d messages, %v", i, u.received, revoked, u.err)
		}
	}
	var took []time.Duration
	for i, both := range victims {
		for _, u := range both {
			var closed *frametest.ClosedError
			if !errors.As(u.err, &closed) || closed.Code != uint16(wire.CloseRevoked) {
				t.Fatalf("victim %d: %v, want close %d", i, u.err, wire.CloseRevoked)
			}
			took = append(took, u.ended.Sub(began[i]))
		}
	}
	slices.Sort(took)
	t.Logf("%d users: from the request to the close frame, median %v, slowest of %d %v",
		len(others), took[len(took)/2].Round(100*time.Microsecond), len(took), took[len(took)-1].Round(100*time.Microsecond))
}

// awaitReady waits until the server has a connection to its broker.
func (p *process) awaitReady(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); <-time.After(10 * time.Millisecond) {
		r, err := http.Get(p.url + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		if r.Body.Close(); r.StatusCode == http.StatusOK {
			return
		}
	}
	t.Fatal("the server is not ready")
}

// post sends a JSON body, and returns the answer.
func post(t *testing.T, url, body string) string {
	r, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return ""
	}
	defer r.Body.Close()
	answer, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Errorf("POST %s: %s %s, %v", url, r.Status, answer, err)
	}
	return string(answer)
}
