package client_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/ikornaselur/notiflux/client"
)

func TestPresence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := f.dial(client.Options{Token: "secret"})
		present := wish{Topics: []string{"a"}, Presence: true}
		a := listen(t, c, present)
		p := f.accept()
		p.expect(`{"type":"subscribe","id":1,"topics":["a"],"presence":true,"token":"secret"}`)
		p.say(subscribedTo(1, "a"))
		a.expect("subscribed a E:0 0 resumed=false")
		p.expect(`{"type":"presence","id":2,"topic":"a","token":"secret"}`)
		p.say(`{"type":"presence","id":2,"topic":"a","count":1,"subscribers":5,"members":[{"sub":"u1","info":{"x":1}}]}`,
			`{"type":"join","topic":"a","member":{"sub":"u2","info":{}}}`,
			`{"type":"join","topic":"a","members":[{"sub":"u3"},{"sub":"u4"}]}`,
			message("a", 1, "1"),
			`{"type":"leave","topic":"a","member":{"sub":"u1"}}`,
			`{"type":"presence","topic":"a","count":1234,"subscribers":2000}`,
			`{"type":"join","topic":"b","member":{"sub":"u1"}}`) // not subscribed to
		a.expect(`present a 1 of 5 u1{"x":1}`, "joined a u2{}", "joined a u3 u4", "message a E:1 1", "left a u1", "present a 1234 of 2000")

		// A list reports who joined and left in the meantime.
		p.cut()
		a.expect("disconnected")
		p = f.accept()
		p.expect(`{"type":"subscribe","id":1,"topics":["a"],"since":{"a":"E:1"},"presence":true,"token":"secret"}`)
		p.say(`{"type":"subscribed","id":1,"topics":{"a":{"position":"F:7","recovered":false,"replay":0}}}`)
		a.expect("lost a E:1 F:7 expired")
		// A request that is refused for now is repeated; one that is refused for good is not.
		p.expect(`{"type":"presence","id":2,"topic":"a","token":"secret"}`)
		p.say(`{"type":"error","id":2,"code":"over_capacity","message":"later","retry":true}`)
		p.expect(`{"type":"presence","id":3,"topic":"a","token":"secret"}`)
		p.say(`{"type":"error","id":3,"code":"unknown_type","message":"no","retry":false}`)
		b := listen(t, c, topics("b"))
		p.expect(`{"type":"subscribe","id":4,"topics":["b"],"token":"secret"}`)
		p.say(subscribedTo(4, "b"), `{"type":"join","topic":"b","member":{"sub":"u1"}}`, message("b", 1, "1"))
		b.expect("subscribed b E:0 0 resumed=false", "message b E:1 1")
	})
}

func TestLargestList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		a := listen(t, f.dial(client.Options{}), wish{Topics: []string{"a"}, Presence: true})
		p := f.accept()
		<-p.commands
		p.say(subscribedTo(1, "a"))
		a.expect("subscribed a E:0 0 resumed=false")
		<-p.commands
		var members []string
		for range 1000 {
			members = append(members, fmt.Sprintf(`{"sub":"%s","info":{"x":"%s"}}`, strings.Repeat(`\u0001`, 255), strings.Repeat("x", 1024-len(`{"x":""}`))))
		}
		p.say(`{"type":"presence","id":2,"topic":"a","count":1000,"subscribers":1000,"members":[` + strings.Join(members, ",") + `]}`)
		if got := <-a.events; !strings.HasPrefix(got, "present a 1000 of 1000 ") {
			t.Errorf("got event %.100q", got)
		}
	})
}

func TestConnectionHasAName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := f.dial(client.Options{})
		s := c.Subscribe("a")
		synctest.Wait()
		if got := s.Connection("a"); got != "00" {
			t.Errorf("Connection() = %q, want 00", got)
		}
		if got := s.Connection("b"); got != "" {
			t.Errorf("Connection() of a topic that is not subscribed to = %q", got)
		}
		c.Close()
		if got := s.Connection("a"); got != "" {
			t.Errorf("Connection() of a closed client = %q", got)
		}
	})
}

// A list that is refused because the token has expired is requested with another token.
func TestListWithAnExpiredToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		calls := 0
		c := f.dial(client.Options{TokenSource: func(context.Context, client.TokenRequest) (string, error) {
			calls++
			return fmt.Sprint("t", calls), nil
		}})
		a := listen(t, c, wish{Topics: []string{"a"}, Presence: true})
		p := f.accept()
		p.expect(`{"type":"subscribe","id":1,"topics":["a"],"presence":true,"token":"t1"}`)
		p.say(subscribedTo(1, "a"))
		a.expect("subscribed a E:0 0 resumed=false")
		p.expect(`{"type":"presence","id":2,"topic":"a","token":"t1"}`)
		p.say(`{"type":"error","id":2,"code":"token_expired","message":"old","retry":false}`)
		p.expect(`{"type":"presence","id":3,"topic":"a","token":"t2"}`)
		// Once: the source is not asked forever if it returns nothing better.
		p.say(`{"type":"error","id":3,"code":"token_expired","message":"old","retry":false}`)
		synctest.Wait()
		if len(p.commands) > 0 || calls != 2 {
			t.Errorf("the source was asked %d times, and %d commands follow", calls, len(p.commands))
		}
	})
}

// Presence events may be missing with the messages.
func TestMembersAfterALoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		a := listen(t, f.dial(client.Options{}), wish{Topics: []string{"a"}, Presence: true})
		p := f.accept()
		<-p.commands
		p.say(subscribedTo(1, "a"))
		<-p.commands
		p.say(`{"type":"presence","id":2,"topic":"a","count":0,"subscribers":1,"members":[]}`, `{"type":"gap","topic":"a","position":"E:5"}`)
		a.expect("subscribed a E:0 0 resumed=false", "present a 0 of 1", "lost a E:0 E:5 gap")
		p.expect(`{"type":"presence","id":3,"topic":"a"}`)
	})
}

func TestMembersAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		a := listen(t, f.dial(client.Options{Token: "x"}), wish{Topics: []string{"a"}, Presence: true})
		p := f.accept()
		<-p.commands
		p.say(subscribedTo(1, "a"))
		<-p.commands
		p.say(`{"type":"error","id":2,"code":"token_expired","message":"x","retry":false}`, message("a", 1, "1"))
		a.expect("subscribed a E:0 0 resumed=false", "present a token_expired: x", "message a E:1 1")
	})
}
