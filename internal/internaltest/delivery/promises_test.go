package delivery_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/internaltest/delivery"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// gracePeriod is how long members stay in these tests.
const gracePeriod = 10 * time.Second

// party writes a log by hand of members of topic a, on a clock of its own.
type party struct {
	*story
	now      time.Time
	members  map[string]*story
	counters *delivery.Counters
}

func celebrate(tale func(p *party)) []error {
	p := &party{now: time.Unix(1_790_000_000, 0), members: make(map[string]*story)}
	r := &delivery.Recorder{Clock: func() time.Time { return p.now }}
	p.story = &story{r, r.Client("client")}
	tale(p)
	log := r.Log(held)
	log.GracePeriod, log.Counters = gracePeriod, p.counters
	return delivery.Check(log)
}

func (p *party) pass(d time.Duration) { p.now = p.now.Add(d) }

// of returns the client of a member, which has one.
func (p *party) of(sub string) *story {
	if p.members[sub] == nil {
		p.members[sub] = &story{p.Recorder, p.Member("client of "+sub, sub)}
	}
	return p.members[sub]
}

// comes has members subscribe with presence.
func (p *party) comes(subs ...string) {
	for _, sub := range subs {
		ask := p.of(sub).client.Ask(pubsub.Position{}, 0)
		ask.Presence = true
		p.of(sub).answerTo(ask, at(0), true, 0)
	}
}

func (p *party) goes(sub string) { p.of(sub).cut() }

// hears has a member be told of others.
func (p *party) hears(sub string, k delivery.Kind, members ...string) {
	p.of(sub).client.Add(delivery.Event{Kind: k, Topic: "a", Members: members, Count: len(members)})
}

// grant is an answer to a token that allows topics until so long from now; 0: for ever.
func (p *party) grant(until time.Duration, topics ...pubsub.Topic) {
	ask := p.client.Ask(pubsub.Position{}, 0)
	if ask.Grant = (&delivery.Grant{Topics: topics}); until > 0 {
		ask.Grant.Until = p.now.Add(until)
	}
	p.answerTo(ask, at(0), true, 0)
}

// keyed publishes name with a key.
func (p *party) keyed(key, name string, o delivery.Outcome, offset uint64) {
	p.PublishingKey("a", name, key)(o, at(offset))
}

var soundPromises = map[string]func(p *party){
	"they come and go": func(p *party) {
		p.comes("ann", "bob")
		p.hears("ann", delivery.Joined, "ann", "bob")
		p.hears("bob", delivery.Joined, "ann", "bob")
		p.goes("bob")
		p.pass(gracePeriod)
		p.hears("ann", delivery.Left, "bob")
		p.comes("bob")
		p.hears("ann", delivery.Joined, "bob")
		p.hears("bob", delivery.Members, "ann", "bob")
		p.of("ann").rests()
		p.of("bob").rests()
	},
	"back in time": func(p *party) {
		p.comes("ann", "bob")
		p.hears("ann", delivery.Joined, "ann", "bob")
		p.goes("bob")
		p.pass(gracePeriod - 1)
		p.comes("bob")
		p.pass(gracePeriod)
		p.of("ann").rests()
	},
	"back as the leave is told": func(p *party) {
		p.comes("ann", "bob")
		p.hears("ann", delivery.Joined, "ann", "bob")
		p.of("bob").client.Add(delivery.Event{Kind: delivery.Leaving})
		p.pass(time.Second)
		p.goes("bob")
		p.pass(gracePeriod - time.Second)
		p.comes("bob")
		p.hears("ann", delivery.Left, "bob")
		p.hears("ann", delivery.Joined, "bob")
		p.of("ann").rests()
	},
	"cut before the answer to its unsubscription": func(p *party) {
		p.comes("ann", "bob")
		p.hears("ann", delivery.Joined, "ann", "bob")
		p.of("bob").client.Add(delivery.Event{Kind: delivery.Leaving})
		p.pass(time.Second)
		p.of("bob").client.Add(delivery.Event{Kind: delivery.Leaving})
		p.goes("bob")
		p.pass(gracePeriod - time.Second)
		p.hears("ann", delivery.Left, "bob")
		p.of("ann").rests()
	},
	"there before it was answered": func(p *party) {
		p.comes("ann")
		p.of("bob")
		p.hears("ann", delivery.Joined, "ann", "bob")
		p.pass(gracePeriod)
		p.comes("bob")
		p.hears("ann", delivery.Left, "bob")
		p.hears("ann", delivery.Joined, "bob")
		p.of("ann").rests()
	},
	"told again what is in the list": func(p *party) {
		p.comes("ann", "bob")
		p.hears("ann", delivery.Members, "ann", "bob")
		p.hears("ann", delivery.Joined, "ann", "bob")
		p.of("ann").rests()
	},
	"too many, then few": func(p *party) {
		p.comes("ann", "bob", "cid")
		p.of("ann").client.Add(delivery.Event{Kind: delivery.CountOnly, Topic: "a", Count: 3})
		p.of("ann").rests()
		p.goes("cid")
		p.pass(gracePeriod)
		p.hears("ann", delivery.Snapshot, "ann", "bob")
		p.of("ann").rests()
		p.comes("cid")
		p.hears("ann", delivery.Joined, "cid")
		p.of("ann").rests()
	},
	"a key": func(p *party) {
		p.first(0)
		p.keyed("k", "m1", delivery.Unknown, 0)
		p.keyed("k", "m1", delivery.Acknowledged, 1)
		p.keyed("k", "m1", delivery.Acknowledged, 1)
		p.keyed("k", "m2", delivery.Refused, 0)
		p.keyed("l", "m3", delivery.Refused, 0)
		p.keyed("l", "m3", delivery.Acknowledged, 3)
		p.gets(1, 3)
		p.rests()
		p.counters = &delivery.Counters{Broadcasts: 4, Messages: 2, Deliveries: 2}
	},
	"a token that ends": func(p *party) {
		p.grant(time.Minute, "b", "a")
		p.pass(time.Minute)
		p.publish(1)
		p.gets(1)
		p.event(delivery.Unsubscribed, 0, 0)
	},
	"a new epoch": func(p *party) {
		p.Epoch("E")
		p.publish(1)
		p.resumed(1, 0)
		p.cut()
		p.Epoch("F")
		p.answer(at(1), pubsub.Position{Epoch: "F"}, false, 0)
		p.rests()
	},
	"counters": func(p *party) {
		p.first(0)
		p.publish(1, 2)
		p.Publishing("a", "no answer")
		p.gets(1, 2)
		p.cut()
		p.client.Add(delivery.Event{Kind: delivery.Cut, Code: delivery.CloseTooSlow})
		p.counters = &delivery.Counters{Broadcasts: 3, Messages: 2, Deliveries: 3, TooSlow: 1}
	},
}

func TestSoundPromises(t *testing.T) {
	for name, tale := range soundPromises {
		t.Run(name, func(t *testing.T) {
			for _, err := range celebrate(tale) {
				t.Error(err)
			}
		})
	}
}

// planted is a bug of a server, and how it is told.
type planted struct {
	want string
	tale func(p *party)
}

// checkPlanted checks that each is seen, and told once.
func checkPlanted(t *testing.T, all map[string]planted) {
	for name, test := range all {
		t.Run(name, func(t *testing.T) {
			got := celebrate(test.tale)
			if len(got) == 0 || !strings.Contains(fmt.Sprint(got), test.want) {
				t.Fatalf("the faults are %v, want %q", got, test.want)
			}
			if len(got) > 1 {
				t.Errorf("it is told again: %v", got)
			}
		})
	}
}

func TestPlantedFaultsOfPromises(t *testing.T) {
	count := func(c delivery.Counters) func(p *party) {
		return func(p *party) { p.first(0); p.publish(1, 2); p.gets(1, 2); p.counters = &c }
	}
	checkPlanted(t, map[string]planted{
		"a key at two positions": {`the key "k" gave E:1, and then E:2`, func(p *party) {
			p.keyed("k", "m1", delivery.Acknowledged, 1)
			p.keyed("k", "m1", delivery.Acknowledged, 2)
		}},
		"a key for two messages": {`"m2" was acknowledged with it`, func(p *party) {
			p.keyed("k", "m1", delivery.Acknowledged, 1)
			p.keyed("k", "m2", delivery.Acknowledged, 2)
		}},
		"a message of a key twice": {"acknowledged at E:1", func(p *party) {
			p.first(0)
			p.keyed("k", "m1", delivery.Unknown, 0)
			p.keyed("k", "m1", delivery.Acknowledged, 1)
			p.gets(1)
			p.message(at(2), "m1")
		}},
		"a topic that is not allowed": {`the token allows ["b"]`, func(p *party) { p.grant(0, "b") }},
		"a token whose time is over":  {"subscriptions with the token ended", func(p *party) { p.grant(time.Minute, "a"); p.cut(); p.late() }},
		"a message after until": {"after the end of its subscription", func(p *party) {
			p.grant(time.Minute, "a")
			p.pass(time.Minute + 2*time.Second)
			p.publish(1)
			p.gets(1)
		}},
		"an epoch that is over":           {"the epoch is F", func(p *party) { p.Epoch("E"); p.publish(1); p.Epoch("F"); p.resumed(1, 0) }},
		"an epoch that ends in silence":   {"the epoch is F, and the client is in E", func(p *party) { p.Epoch("E"); p.first(0); p.Epoch("F"); p.rests() }},
		"an epoch of nobody":              {"the epoch is F", func(p *party) { p.Epoch("F"); p.first(0) }},
		"a broadcast that is not counted": {"1 broadcasts, and there were 2 to 2", count(delivery.Counters{Broadcasts: 1, Messages: 2, Deliveries: 2})},
		"a message that nobody published": {"3 messages, and there were 2 to 2", count(delivery.Counters{Broadcasts: 2, Messages: 3, Deliveries: 2})},
		"a delivery that nobody received": {"3 deliveries, and there were 2 to 2", count(delivery.Counters{Broadcasts: 2, Messages: 2, Deliveries: 3})},
		"a cut that nobody noticed":       {"1 clients that were too slow", count(delivery.Counters{Broadcasts: 2, Messages: 2, Deliveries: 2, TooSlow: 1})},
		"a cut that is not counted": {"0 clients that were too slow", func(p *party) {
			p.client.Add(delivery.Event{Kind: delivery.Cut, Code: delivery.CloseTooSlow})
			p.counters = new(delivery.Counters)
		}},
	})
}

func TestPlantedFaultsOfPresence(t *testing.T) {
	checkPlanted(t, map[string]planted{
		"joined twice": {`"bob" joined and was there`, func(p *party) { p.comes("ann", "bob"); p.bob(delivery.Joined); p.bob(delivery.Joined) }},
		"left twice": {`"bob" left and was not there`, func(p *party) {
			p.comes("ann", "bob")
			p.goes("bob")
			p.pass(gracePeriod)
			p.bob(delivery.Left)
			p.bob(delivery.Left)
		}},
		"left, and the list did not have it": {`"bob" left and was not there`, func(p *party) {
			p.comes("ann", "bob")
			p.goes("bob")
			p.pass(gracePeriod)
			p.hears("ann", delivery.Snapshot, "ann")
			p.bob(delivery.Left)
		}},
		"joined, and the list has it": {`"bob" joined and was there`, func(p *party) {
			p.comes("ann", "bob")
			p.hears("ann", delivery.Snapshot, "ann", "bob")
			p.bob(delivery.Joined)
		}},
		"left though it returned": {`"bob" was not away for 10s`, func(p *party) {
			p.comes("ann", "bob")
			p.goes("bob")
			p.pass(gracePeriod - 1)
			p.comes("bob")
			p.pass(gracePeriod)
			p.bob(delivery.Left)
		}},
		"left though it returned long ago": {`"bob" was not away for 10s`, func(p *party) {
			p.comes("ann", "bob")
			p.goes("bob")
			p.pass(gracePeriod)
			p.bob(delivery.Left)
			p.comes("bob")
			p.bob(delivery.Joined)
			p.pass(gracePeriod)
			p.bob(delivery.Left)
		}},
		"left though another connection stays": {`"bob" was not away`, func(p *party) {
			p.comes("ann", "bob")
			phone := &story{p.Recorder, p.Member("phone of bob", "bob")}
			ask := phone.client.Ask(pubsub.Position{}, 0)
			ask.Presence = true
			phone.answerTo(ask, at(0), true, 0)
			p.goes("bob")
			p.pass(gracePeriod)
			p.bob(delivery.Left)
		}},
		"left too soon":        {`"bob" was not away`, func(p *party) { p.comes("ann", "bob"); p.goes("bob"); p.pass(gracePeriod - 1); p.bob(delivery.Left) }},
		"a member of a dream":  {`nobody is "eve"`, func(p *party) { p.comes("ann"); p.hears("ann", delivery.Joined, "eve") }},
		"a leave that is lost": {"it knows the members [ann bob], and there are [ann]", func(p *party) { p.together(); p.goes("bob"); p.pass(gracePeriod); p.of("ann").rests() }},
		"a join that is lost":  {"it knows the members [ann bob], and there are [ann bob cid]", func(p *party) { p.together(); p.comes("cid"); p.of("ann").rests() }},
		"a count that is old": {"it knows of 3 members, and there are 2", func(p *party) {
			p.comes("ann", "bob")
			p.of("ann").client.Add(delivery.Event{Kind: delivery.CountOnly, Topic: "a", Count: 3})
			p.of("ann").rests()
		}},
		"a list that is cut": {"a list of 2 has 1", func(p *party) {
			p.comes("ann", "bob")
			p.of("ann").client.Add(delivery.Event{Kind: delivery.Snapshot, Topic: "a", Members: []string{"ann"}, Count: 2})
		}},
		"presence without being asked for it": {"without a subscription with presence", func(p *party) { p.first(0); p.client.Add(delivery.Event{Kind: delivery.Joined, Topic: "a"}) }},
		"presence outlives its connection":    {"before an answer", func(p *party) { p.comes("ann"); p.goes("ann"); p.hears("ann", delivery.Joined, "ann") }},
	})
}

// bob tells ann of bob.
func (p *party) bob(k delivery.Kind) { p.hears("ann", k, "bob") }

// together is ann and bob, and ann knows.
func (p *party) together() {
	p.comes("ann", "bob")
	p.hears("ann", delivery.Joined, "ann", "bob")
	p.hears("ann", delivery.Members, "ann", "bob")
}

// late is an answer to a token whose until was a minute ago.
func (p *party) late() {
	ask := p.client.Ask(pubsub.Position{}, 0)
	ask.Grant = &delivery.Grant{Topics: []pubsub.Topic{"a"}, Until: p.now.Add(-time.Minute)}
	p.answerTo(ask, at(0), true, 0)
}
