//go:build linux

package bench_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/internaltest/frametest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

var crowd = flag.Int("crowd", 200, "members who join one topic at once; RESULTS.md has 10,000")

// attend connects as a member of topic t.
func (p *process) attend(sub string) (net.Conn, error) {
	token, err := p.signer.Sign(auth.Grant{Subject: sub, Scopes: []auth.Scope{auth.Subscribe}, Topics: []pubsub.Topic{"t"}, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		return nil, err
	}
	c, err := p.connect(0, "Sec-WebSocket-Protocol: notiflux.v1.json\r\n")
	if err != nil {
		return nil, err
	}
	return c, frametest.WriteText(c, fmt.Sprintf(`{"type":"subscribe","topics":["t"],"presence":true,"token":%q}`, string(token)))
}

// told is what one member is told of the others.
type told struct{ frames, bytes, names, members int }

// watch reads until there are so many members by what is told.
func (d *told) watch(c net.Conn, members int) error {
	for d.members < members {
		data, err := frametest.ReadText(c)
		if err != nil {
			return err
		}
		var m struct {
			Type            string
			Member, Members any
			Count           int
		}
		if err := json.Unmarshal([]byte(data), &m); err != nil {
			return err
		}
		switch list, _ := m.Members.([]any); {
		case m.Type == "join" && m.Member != nil:
			d.names++
			d.members++
		case m.Type == "join":
			d.names += len(list)
			d.members += len(list)
		case m.Type == "presence":
			d.members = m.Count
		default:
			continue // The welcome, the answer.
		}
		d.frames++
		d.bytes += len(data)
	}
	return nil
}

// Members who join a topic all at once are told a little of each other, not each of all.
func TestPresenceStorm(t *testing.T) {
	p := serve(t)
	observer, err := p.attend("observer")
	if err != nil {
		t.Fatal(err)
	}
	defer observer.Close()
	conns := make([]net.Conn, *crowd)
	var joining, reading sync.WaitGroup
	defer reading.Wait()
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
	}()
	began, computed := time.Now(), p.cpu(t)
	for i := range conns {
		joining.Go(func() {
			c, err := p.attend(fmt.Sprintf("member-%05d", i))
			if err != nil {
				t.Error(err)
				return
			}
			conns[i] = c
			reading.Go(func() { io.Copy(io.Discard, c) })
		})
	}
	if joining.Wait(); t.Failed() {
		return
	}
	joined := time.Since(began)
	var d told
	if err := d.watch(observer, *crowd+1); err != nil {
		t.Fatal(err)
	}
	took, cpu := time.Since(began), p.cpu(t)-computed
	t.Logf("%d members joined in %v, and one was told in %v, by %d frames with %d names, %d bytes: CPU %v, %v for each member; %d KB resident",
		*crowd, joined.Round(time.Millisecond), took.Round(time.Millisecond), d.frames, d.names, d.bytes, cpu, (cpu / time.Duration(*crowd)).Round(time.Microsecond), p.kilobytes(t, "VmRSS"))
	if most := int(took/(100*time.Millisecond)) + 1 + (*crowd+1)/100; d.frames > most || d.names > min(*crowd+1, 1000) {
		t.Errorf("%d frames and %d names, want %d and %d at most", d.frames, d.names, most, min(*crowd+1, 1000))
	}
}
