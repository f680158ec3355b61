package client_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/ikornaselur/notiflux/client"
	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

func pattern(p string) wish { return wish{Pattern: p} }

// confirmed answers the subscribe command of a pattern.
func confirmed(p, position string, recovered bool, replay int) string {
	return fmt.Sprintf(`{"type":"subscribed","id":1,"topics":{},"patterns":{%q:{"position":%q,"recovered":%t,"replay":%d}}}`, p, position, recovered, replay)
}

func reached(p, position string) string {
	return fmt.Sprintf(`{"type":"position","pattern":%q,"position":%q}`, p, position)
}

// A pattern resumes from the last position that the server reported, and drops what it has had.
func TestPatternResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		a := listen(t, f.new(client.Options{Token: "t"}), wish{Pattern: "room:*", Since: map[string]client.Position{"room:*": "E:4"}})
		p := f.accept()
		p.expect(`{"type":"subscribe","id":1,"patterns":["room:*"],"since":{"room:*":"E:4"},"token":"t"}`)
		p.say(confirmed("room:*", "E:4", true, 1), message("room:2", 5, "5"), reached("room:*", "E:5"), message("room:1", 6, "6"), message("room:2", 7, "7"))
		a.expect("subscribed room:* E:4 1 resumed=false", "message room:2 E:5 5", "reached room:* E:5", "message room:1 E:6 6", "message room:2 E:7 7")
		p.cut()
		a.expect("disconnected")
		p = f.accept()
		p.expect(`{"type":"subscribe","id":1,"patterns":["room:*"],"since":{"room:*":"E:5"},"token":"t"}`)
		p.say(confirmed("room:*", "E:5", true, 3), message("room:1", 6, "6"), message("room:2", 7, "7"), message("room:2", 8, "8"))
		a.expect("subscribed room:* E:5 3 resumed=true", "message room:2 E:8 8")
		p.say(`{"type":"gap","pattern":"room:*","position":"E:9"}`)
		a.expect("lost room:* E:5 E:9 gap")
		p.cut()
		a.expect("disconnected")
		p = f.accept()
		p.say(confirmed("room:*", "F:0", false, 0), strings.Replace(message("room:1", 1, "1"), "E:", "F:", 1))
		a.expect("lost room:* E:9 F:0 expired", "message room:1 F:1 1")
	})
}

// A pattern has a connection of its own, which ends with it.
func TestPatternsBesideTopics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := f.new(client.Options{})
		topic := listen(t, c, topics("room:1"))
		first := f.accept()
		first.expect(`{"type":"subscribe","id":1,"topics":["room:1"]}`)
		first.say(subscribedTo(1, "room:1"))
		a, b := listen(t, c, pattern("room:*")), listen(t, c, pattern("room:1*"))
		for range 2 {
			p := f.accept()
			command := <-p.commands
			name := "room:*"
			if strings.Contains(command, `"room:1*"`) {
				name = "room:1*"
			}
			p.say(confirmed(name, "E:0", true, 0), message("room:1", 1, "1"))
		}
		a.expect("subscribed room:* E:0 0 resumed=false", "message room:1 E:1 1")
		b.expect("subscribed room:1* E:0 0 resumed=false", "message room:1 E:1 1")
		topic.expect("subscribed room:1 E:0 0 resumed=false")
		if err := a.subscription.Add("x"); err == nil || !strings.Contains(err.Error(), "takes no topics") {
			t.Errorf("Add to a pattern = %v", err)
		}
		a.subscription.Remove("x")
		if name := a.subscription.Connection("x"); name != "" {
			t.Errorf("Connection = %q", name)
		}
		a.leave()
		a.expect("end context canceled")
		a.over()
		c.Close()
		b.expect("end " + client.ErrClosed.Error())
	})
}

// A loop that is too slow loses messages, and learns it.
func TestPatternOverflows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		s := f.new(client.Options{}).SubscribePattern("a*", client.PatternOptions{Buffer: 2})
		p := f.accept()
		p.say(confirmed("a*", "E:0", true, 0), message("a1", 1, "1"), reached("a*", "E:1"), message("a2", 2, "2"), reached("a*", "E:2"), message("a1", 3, "3"))
		synctest.Wait()
		for _, want := range []string{"subscribed a* E:0 0 resumed=false", "message a1 E:1 1", "lost a* E:1 E:2 overflow"} {
			if got := describe(s.Next(t.Context())); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
	})
}

func TestPatternTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		var asked []client.TokenRequest
		c := f.new(client.Options{TokenSource: func(_ context.Context, r client.TokenRequest) (string, error) {
			asked = append(asked, r)
			if len(asked) == 1 {
				return "", errors.New("not yet")
			}
			return "t" + strconv.Itoa(len(asked)), nil
		}})
		a := listen(t, c, pattern("a*"))
		for n, refusal := range []string{"token_expired", "topic_denied", "unavailable", ""} {
			p := f.accept()
			p.expect(fmt.Sprintf(`{"type":"subscribe","id":1,"patterns":["a*"],"token":"t%d"}`, min(n+2, 4)))
			if refusal != "" {
				p.say(`{"type":"subscribed","id":1,"topics":{},"refused":{"a*":{"code":"` + refusal + `","message":"no"}}}`)
				continue
			}
			p.say(confirmed("a*", "E:0", true, 0))
			a.expect("subscribed a* E:0 0 resumed=false")
			p.say(`{"type":"unsubscribed","topics":[],"patterns":["a*"],"code":"token_revoked"}`)
		}
		p := f.accept()
		p.expect(`{"type":"subscribe","id":1,"patterns":["a*"],"since":{"a*":"E:0"},"token":"t5"}`)
		p.say(`{"type":"subscribed","id":1,"topics":{},"refused":{"a*":{"code":"token_revoked","message":"no"}}}`)
		a.expect("refused a* token_revoked")
		a.over()

		// The operator ends the connection.
		b := listen(t, c, pattern("b*"))
		p = f.accept()
		p.expect(`{"type":"subscribe","id":1,"patterns":["b*"],"token":"t3"}`)
		p.say(confirmed("b*", "E:0", true, 0))
		p.end(4003, "")
		b.expect("subscribed b* E:0 0 resumed=false", "disconnected")
		p = f.accept()
		p.expect(`{"type":"subscribe","id":1,"patterns":["b*"],"since":{"b*":"E:0"},"token":"t6"}`)
		asked = asked[:5]
		of := func(code string) client.TokenRequest {
			return client.TokenRequest{Scope: "subscribe", Patterns: []string{"a*"}, Refused: code}
		}
		if want := []client.TokenRequest{of(""), of(""), of("token_expired"), of("topic_denied"), of("token_revoked")}; !reflect.DeepEqual(asked, want) {
			t.Errorf("asked for %+v, want %+v", asked, want)
		}
	})
}

// What ends a subscription to a pattern.
func TestPatternEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		a := listen(t, f.new(client.Options{}), pattern("a*"))
		p := f.accept()
		p.say(`{"type":"error","id":1,"code":"malformed","message":"` + "`topics` is missing" + `","retry":false}`)
		a.expect("refused a* malformed")
		a.over()

		a = listen(t, f.new(client.Options{}), pattern("a*"))
		p = f.accept()
		p.end(1009, "")
		a.expect("end the server closed the connection: 1009 so it is")
		a.over()

		f.plain = func(w http.ResponseWriter, _ *http.Request) { // It is reached, but its WebSockets are blocked.
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"code":"malformed","detail":"no topic"}`)
		}
		f.block = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }
		a = listen(t, f.new(client.Options{}), pattern("a*"))
		a.expect("refused a* upgrade_required")
		a.over()

		closed := f.new(client.Options{})
		closed.Close()
		for want, s := range map[string]*client.Subscription{
			"is not a pattern":       closed.SubscribePattern("room", client.PatternOptions{}),
			"Since of":               closed.SubscribePattern("a*", client.PatternOptions{Since: "x"}),
			"Buffer is -1":           closed.SubscribePattern("a*", client.PatternOptions{Buffer: -1}),
			client.ErrClosed.Error(): closed.SubscribePattern("*", client.PatternOptions{}),
		} {
			if _, err := s.Next(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("the error is %v, want one with %q", err, want)
			}
		}
	})
}

// However often the connection to a server is cut, a pattern yields each message once, those of
// a topic in order.
func TestPatternCuts(t *testing.T) {
	const rounds = 60
	t.Setenv("NOTIFLUX_TEST_BROKER", "") // Only the memory broker has patterns.
	s := servertest.Start(t, nil)
	random := rand.New(rand.NewPCG(1, 2))
	x := newScissors(t, s.URL, false, rand.New(rand.NewPCG(3, 4)))
	token := s.Sign(auth.Grant{Subject: "u", Scopes: []auth.Scope{auth.Subscribe}, Patterns: []pubsub.Pattern{"room:*"}})
	c := connect(t, x.address, client.Options{Token: token}, hurry)
	defer c.Close()
	sub := c.SubscribePattern("room:*", client.PatternOptions{})
	if got := describe(sub.Next(t.Context())); !strings.HasPrefix(got, "subscribed room:*") {
		t.Fatalf("got %q", got)
	}
	x.begin(rounds)
	want, got := map[string][]string{}, map[string][]string{}
	received, resumed := 0, 0
	for n := range 3 * rounds {
		topic := fmt.Sprint("room:", random.IntN(3))
		s.Broadcast(pubsub.Topic(topic), fmt.Sprint(n))
		want[topic] = append(want[topic], fmt.Sprint(n))
		for received < n-5 || n == 3*rounds-1 && received < 3*rounds {
			event, err := sub.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			switch e := event.(type) {
			case client.Message:
				got[e.Topic] = append(got[e.Topic], e.Text())
				received++
			case client.Subscribed:
				resumed++
			}
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if resumed == 0 {
		t.Error("nothing was resumed")
	}
	t.Logf("%d cuts, resumed %d times", x.cut, resumed)
}
