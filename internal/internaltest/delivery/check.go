package delivery

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// Report fails a test for each fault in a log, up to ten, with the seed of its random
// choices.
func Report(t interface {
	Helper()
	Errorf(format string, args ...any)
}, seed uint64, log Log) {
	t.Helper()
	faults := Check(log)
	for _, fault := range faults[:min(len(faults), 10)] {
		t.Errorf("%v", fault)
	}
	if len(faults) > 0 {
		t.Errorf("-seed=%d: %d faults", seed, len(faults))
	}
}

// Check returns every fault in a log, publishers' first, then client by client.
// After each fault the check of a client continues from where the client is, so that Check
// reports each fault once.
func Check(log Log) []error {
	f := new(faults)
	o := newOrders(&log, f)
	for _, c := range log.Clients {
		if usesPatterns(c) {
			w := newOverlaps(&log, o, f, c.Name)
			for i, e := range c.Events {
				w.step(i, e)
			}
			continue
		}
		w := walk{orders: o, faults: f, name: c.Name, held: log.Held, behind: log.Behind, epochs: log.Epochs, had: make(map[pubsub.Topic]pubsub.Position)}
		w.reset()
		for i, e := range c.Events {
			w.at, w.event = i, e
			w.step(e)
		}
	}
	checkPresence(&log, f)
	checkCounters(&log, o, f)
	return f.all
}

type faults struct{ all []error }

func (f *faults) add(format string, args ...any) {
	f.all = append(f.all, fmt.Errorf(format, args...))
}

// event adds a fault in a client's i-th event.
func (f *faults) event(client string, i int, e Event, format string, args ...any) {
	f.add("%s, event %d, %s %q %v: %s", client, i, e.Kind, e.Topic, e.Position, fmt.Sprintf(format, args...))
}

// walk goes through the events of one client.
type walk struct {
	orders *orders
	faults *faults
	name   string
	held   int
	behind bool
	epochs []Epoch

	at    int
	event Event

	// Of this connection.
	subscriptions map[pubsub.Topic]pubsub.Position // the position that each has reached
	grants        map[pubsub.Topic]*Grant
	untold        map[pubsub.Topic]Event // answers without a position, until a message tells
	ended         map[pubsub.Topic]bool

	had map[pubsub.Topic]pubsub.Position // the position reached over all connections
}

func (w *walk) reset() {
	w.subscriptions = make(map[pubsub.Topic]pubsub.Position)
	w.grants = make(map[pubsub.Topic]*Grant)
	w.untold = make(map[pubsub.Topic]Event)
	w.ended = make(map[pubsub.Topic]bool)
}

func (w *walk) fault(format string, args ...any) {
	w.faults.event(w.name, w.at, w.event, format, args...)
}

// order returns the messages that a position counts in; nil if there are none.
func (w *walk) order(topic pubsub.Topic, p pubsub.Position) *order {
	if o := w.orders.of[numbering{topic, p.Epoch}]; o != nil {
		return o
	}
	return new(order)
}

func (w *walk) step(e Event) {
	given, subscribed := w.subscriptions[e.Topic]
	switch e.Kind {
	case Cut:
		w.reset()
		return
	case Rest:
		w.rest()
		return
	case Leaving, Members:
		return
	case Subscribed:
		w.grant()
		w.epoch()
		if subscribed {
			w.again(given)
		} else {
			w.subscribe()
		}
		w.give()
		return
	}
	if !subscribed {
		if w.ended[e.Topic] && e.Kind != Unsubscribed {
			w.fault("after the answer to the end of the subscription")
		} else if e.Kind != Unsubscribed {
			w.fault("before an answer to a subscription")
		}
		return
	}
	switch e.Kind {
	case Joined, Left, CountOnly, Snapshot:
		return
	case Message:
		w.allowed()
		if w.message(given); e.Position.Epoch == given.Epoch && e.Position.Offset < given.Offset {
			return // It has more already.
		}
	case Skipped:
		if e.From != given {
			w.fault("skipped from %v, but %v was given", e.From, given)
		}
		if e.Position.Epoch != given.Epoch || e.Position.Offset <= given.Offset {
			w.fault("skipped backwards, from %v", given)
		}
	case Gap:
		if e.Position.Epoch == given.Epoch && e.Position.Offset < given.Offset {
			w.fault("a gap backwards, from %v", given)
		}
	case Unsubscribed:
		delete(w.subscriptions, e.Topic)
		w.ended[e.Topic] = true
		return
	}
	w.give()
}

// late is how long after its time the server may end a subscription: a timer and a turn of
// the loop.
const late = time.Second

// grant is what the token of a new answer allows.
func (w *walk) grant() {
	g := w.event.Ask.Grant
	w.grants[w.event.Topic] = g
	switch {
	case g == nil:
	case !slices.Contains(g.Topics, w.event.Topic):
		w.fault("the token allows %q", g.Topics)
	case !g.Until.IsZero() && w.event.At.After(g.Until.Add(late)):
		w.fault("subscriptions with the token ended at %v", g.Until)
	}
}

// allowed checks that a message came while the token allowed it.
func (w *walk) allowed() {
	g, p := w.grants[w.event.Topic], w.orders.byData[w.event.Topic][w.event.Data]
	if g != nil && p != nil && !g.Until.IsZero() && p.At.After(g.Until.Add(late)) {
		w.fault("published after the end of its subscription, at %v", g.Until)
	}
}

// epoch checks that the answer is in the epoch of its server.
func (w *walk) epoch() {
	e := w.event
	if len(w.epochs) == 0 || e.Position.Epoch == "" {
		return
	}
	for i, epoch := range w.epochs {
		over := i+1 < len(w.epochs) && w.epochs[i+1].From < e.Ask.Time
		if epoch.Name == e.Position.Epoch && epoch.From < e.Time && !over {
			return
		}
	}
	w.fault("the epoch is %s", w.now())
}

// now returns the epoch at the time of the event.
func (w *walk) now() (name string) {
	for _, epoch := range w.epochs {
		if epoch.From < w.event.Time {
			name = epoch.Name
		}
	}
	return name
}

// give moves the subscription to the position of the event.
func (w *walk) give() {
	w.subscriptions[w.event.Topic] = w.event.Position
	w.had[w.event.Topic] = w.event.Position
}

// again checks the answer to a repeated subscription.
func (w *walk) again(given pubsub.Position) {
	p := w.event.Position
	same := p == given
	if w.orders.carried && p.Epoch == given.Epoch { // Between what was carried and the epoch's beginning there is nothing.
		o := w.order(w.event.Topic, p)
		same = o.rank(p.Offset) == o.rank(given.Offset)
	}
	if !same || !w.event.Recovered || w.event.Replay > 0 {
		w.fault("the subscription was there, and %v was given", given)
	}
}

// subscribe checks the answer to a new subscription.
func (w *walk) subscribe() {
	e, since := w.event, w.event.Ask.Since
	o := w.order(e.Topic, e.Position)
	least, most := w.head(o, e)
	if had, ok := w.had[e.Topic]; ok && since != had && since != (pubsub.Position{}) {
		w.fault("the log is of no use: it asks from %v, and %v was given", since, had)
	}
	first := o.rank(e.Position.Offset)
	switch {
	case !e.Recovered && e.Position == pubsub.Position{}:
		w.untold[e.Topic] = e
		return
	case !e.Recovered && since == pubsub.Position{}:
		w.fault("not recovered, and nothing was asked for")
	case !e.Recovered:
		w.unrecovered(o, least, most)
		return
	case since != pubsub.Position{} && e.Position != since:
		w.fault("recovered from elsewhere than %v", since)
	case since == pubsub.Position{} && e.Replay > e.Ask.Last:
		w.fault("%d messages are replayed, %d were asked for", e.Replay, e.Ask.Last)
	}
	if e.Replay < 0 {
		return
	}
	switch head := first + e.Replay; {
	case first > most:
		w.fault("beyond the head, which was at most %s", o.name(most))
	case head < least:
		w.fault("%d messages are replayed and end at %s; the head was at least %s", e.Replay, o.name(head), o.name(least))
	case head > most:
		w.fault("%d messages are replayed, and there were at most %d", e.Replay, most-first)
	}
}

// head returns how many messages there can be at the time of an answer: at least and at most.
func (w *walk) head(o *order, answer Event) (least, most int) {
	least, most = o.head(answer.Ask.Time, answer.Time)
	if w.behind {
		least = 0
	}
	if w.orders.carried {
		most = math.MaxInt // Nobody may know yet which messages are carried.
	}
	return least, most
}

// unrecovered checks an answer that says recovered:false.
func (w *walk) unrecovered(o *order, least, most int) {
	e, since := w.event, w.event.Ask.Since
	if e.Replay > 0 {
		w.fault("not recovered, and %d messages are replayed", e.Replay)
	}
	n := o.rank(e.Position.Offset)
	at := n == 0 || o.messages[n-1].offset == e.Position.Offset || w.behind || w.orders.carried // Its message may be lost.
	if n < least || n > most || !at {
		w.fault("not recovered, and the position is not the head, which was from %s to %s", o.name(least), o.name(most))
	}
	if after := most - o.rank(since.Offset); since.Epoch == e.Position.Epoch && since.Offset <= e.Position.Offset && after <= w.held {
		w.fault("not recovered from %v, though at most %d messages are after it, and %d are held", since, after, w.held)
	}
}

// message checks a message after everything up to given was received.
func (w *walk) message(given pubsub.Position) {
	e := w.event
	if answer, ok := w.untold[e.Topic]; ok {
		w.told(answer)
		return
	}
	o := w.order(e.Topic, given)
	switch next := o.rank(given.Offset); {
	case e.Position.Epoch != given.Epoch:
		w.fault("another epoch without a word, after %v", given)
	case e.Position.Offset == given.Offset:
		w.fault("twice")
	case e.Position.Offset < given.Offset:
		w.fault("out of order, or twice, after %v", given)
	case next < len(o.messages) && o.messages[next].offset < e.Position.Offset:
		w.fault("after %v, so %d messages are missing", given, o.rank(e.Position.Offset-1)-next)
	}
}

// told checks the first message after an answer without a position, which shows where the
// subscription began: at the head, or at the requested position.
func (w *walk) told(answer Event) {
	delete(w.untold, w.event.Topic)
	o := w.order(w.event.Topic, w.event.Position)
	least, most := w.head(o, answer)
	before := o.rank(w.event.Position.Offset) - 1
	asked := answer.Ask.Since.Epoch == w.event.Position.Epoch && before == o.rank(answer.Ask.Since.Offset)
	if !asked && (before < least || before > most) {
		w.fault("it goes on behind %s, which was neither asked for nor the head, from %s to %s", o.name(max(before, 0)), o.name(least), o.name(most))
	}
}

// rest checks a client at rest.
func (w *walk) rest() {
	for topic, given := range w.subscriptions {
		o := w.order(topic, given)
		if missing := len(o.messages) - o.rank(given.Offset); missing > 0 {
			w.fault("%d messages of %q are missing at its end, after %v", missing, topic, given)
		}
		if len(w.epochs) > 0 {
			if now := w.now(); given.Epoch != now {
				w.fault("the epoch is %s, and the client is in %s", now, given.Epoch)
			}
			continue
		}
		for n, other := range w.orders.of {
			if n.topic == topic && n.epoch != given.Epoch && other.last() > o.last() {
				w.fault("%q went on in the epoch %s, and the client is in %s", topic, n.epoch, given.Epoch)
			}
		}
	}
}

// last returns when the last message was sent.
func (o *order) last() Time {
	if len(o.called) == 0 {
		return 0
	}
	return o.called[len(o.called)-1].time
}
