package delivery

import (
	"maps"
	"slices"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// overlaps goes through the events of a client that subscribes to patterns. A topic may belong to
// several of its subscriptions, so what it must get is known for all of them together.
//
// The client handles a message unless it has handled that one or a later one of the topic. It resumes
// all subscriptions of a connection that was cut before it begins others. All positions have one
// epoch.
type overlaps struct {
	log    *Log
	orders *orders
	faults *faults
	name   string

	at    int
	event Event

	// Of this connection.
	subscriptions map[pubsub.Topic]uint64 // the offset after which each began
	seen          map[pubsub.Topic]uint64 // the last offset received of a topic
	ended         map[pubsub.Topic]bool

	// Of all connections.
	begun   map[pubsub.Topic]uint64 // the offset after which the client must get everything of a subscription
	handled map[pubsub.Topic]uint64 // the last offset handled of a topic
	excused []excuse
}

// An excuse is that the client was told that it may have missed messages.
type excuse struct {
	of pubsub.Topic // a topic, or that of a pattern
	to uint64
}

func usesPatterns(c Client) bool {
	return slices.ContainsFunc(c.Events, func(e Event) bool { return e.Topic.IsPattern() })
}

func matches(subscription, topic pubsub.Topic) bool {
	if p, ok := subscription.Pattern(); ok {
		return p.Matches(topic)
	}
	return subscription == topic
}

func newOverlaps(log *Log, o *orders, f *faults, name string) *overlaps {
	w := &overlaps{log: log, orders: o, faults: f, name: name, begun: make(map[pubsub.Topic]uint64), handled: make(map[pubsub.Topic]uint64)}
	w.reset()
	return w
}

func (w *overlaps) reset() {
	w.subscriptions, w.seen, w.ended = make(map[pubsub.Topic]uint64), make(map[pubsub.Topic]uint64), make(map[pubsub.Topic]bool)
}

func (w *overlaps) fault(format string, args ...any) {
	w.faults.event(w.name, w.at, w.event, format, args...)
}

func (w *overlaps) step(i int, e Event) {
	w.at, w.event = i, e
	offset := e.Position.Offset
	switch e.Kind {
	case Cut:
		w.reset()
	case Rest:
		w.missing(1 << 63)
	case Subscribed:
		w.subscribed()
	case Message:
		w.message()
	case Position:
		if _, ok := w.subscriptions[e.Topic]; !ok {
			w.fault("without a subscription")
		}
		w.has(e.Topic, offset)
	case Gap:
		w.excused = append(w.excused, excuse{e.Topic, offset})
	case Unsubscribed:
		delete(w.subscriptions, e.Topic)
		delete(w.begun, e.Topic)
		w.ended[e.Topic] = true
	}
}

func (w *overlaps) subscribed() {
	e := w.event
	offset := e.Position.Offset
	// A store of several nodes also gives offsets to what is no message.
	if newest := w.newest(e.Time); offset > newest && !w.log.Behind {
		w.fault("beyond the newest message, %d", newest)
	}
	if _, again := w.subscriptions[e.Topic]; again {
		w.has(e.Topic, offset)
		return
	}
	fresh := e.Ask.Since == pubsub.Position{}
	switch {
	case fresh && !e.Recovered:
		w.fault("not recovered, and nothing was asked for")
	case fresh:
		w.begun[e.Topic] = offset
		if w.overlaps(e.Topic) { // The position may be lower than where it begins.
			w.begun[e.Topic] = max(offset, w.newest(e.Time))
		}
	case !e.Recovered:
		if w.covered() {
			w.fault("not recovered from %v", e.Ask.Since)
		}
		w.excused = append(w.excused, excuse{e.Topic, offset})
	case e.Position != e.Ask.Since:
		w.fault("recovered from elsewhere than %v", e.Ask.Since)
	}
	w.subscriptions[e.Topic] = offset
	delete(w.ended, e.Topic)
}

// overlaps reports whether a subscription matches some of what the others match.
func (w *overlaps) overlaps(s pubsub.Topic) bool {
	for n := range w.orders.of {
		for other := range w.subscriptions {
			if matches(s, n.topic) && matches(other, n.topic) {
				return true
			}
		}
	}
	return false
}

// message checks a message, and handles it unless it was repeated.
func (w *overlaps) message() {
	topic, offset := w.event.Topic, w.event.Position.Offset
	wanted := false
	for s, begin := range w.subscriptions {
		wanted = wanted || matches(s, topic) && offset > begin
	}
	if !wanted {
		w.fault("no subscription matches it; those are %v, and %v have ended", w.subscriptions, slices.Collect(maps.Keys(w.ended)))
	}
	switch seen := w.seen[topic]; {
	case offset == seen:
		w.fault("twice")
	case offset < seen:
		w.fault("out of order, or twice, after %d", seen)
	}
	if w.seen[topic] = max(w.seen[topic], offset); offset > w.handled[topic] {
		w.missingOf(topic, "", offset-1)
		w.handled[topic] = offset
	}
}

// has checks that the client has every message of a subscription up to an offset.
func (w *overlaps) has(s pubsub.Topic, to uint64) {
	for n := range w.orders.of {
		if matches(s, n.topic) {
			w.missingOf(n.topic, s, to)
		}
	}
}

func (w *overlaps) missing(to uint64) {
	for n := range w.orders.of {
		w.missingOf(n.topic, "", to)
	}
}

// missingOf checks that the client has every message of a topic up to an offset: those of one
// subscription, or of all if that is empty.
func (w *overlaps) missingOf(topic, subscription pubsub.Topic, to uint64) {
	from, any := uint64(1<<63), false
	for s, begin := range w.begun {
		if matches(s, topic) && (subscription == "" || s == subscription) {
			from, any = min(from, begin), true
		}
	}
	if !any {
		return
	}
	for _, x := range w.excused {
		if matches(x.of, topic) {
			from = max(from, x.to)
		}
	}
	from = max(from, w.handled[topic])
	for n, o := range w.orders.of {
		if n.topic != topic {
			continue
		}
		if missing := o.rank(to) - o.rank(from); to > from && missing > 0 {
			w.fault("%d messages of %q are missing after %d", missing, topic, from)
			w.handled[topic] = to // Told once.
		}
	}
}

// newest returns the highest offset of all messages that were sent before a time.
func (w *overlaps) newest(before Time) (offset uint64) {
	for i := range w.log.Publishes {
		if p := &w.log.Publishes[i]; p.Called < before {
			offset = max(offset, p.Position.Offset)
		}
	}
	return offset
}

// covered reports whether the server must recover the subscription of the event.
func (w *overlaps) covered() bool {
	e := w.event
	since, held := e.Ask.Since.Offset, w.log.Held
	if e.Topic.IsPattern() {
		held = w.log.HeldByPatterns
		if !w.wasLive(e.Topic, since) {
			return false
		}
	}
	after := 0
	for n, o := range w.orders.of {
		if !matches(e.Topic, n.topic) {
			continue
		}
		_, most := o.head(e.Ask.Time, e.Time)
		after += max(0, most-o.rank(since))
		for s, begin := range w.subscriptions { // Older messages of a topic do not come after newer ones.
			if matches(s, n.topic) && o.rank(max(begin, w.seen[n.topic])) > o.rank(since) {
				return false
			}
		}
	}
	return after <= held && !w.log.Behind
}

// wasLive reports whether some client had subscribed to a pattern before the message at an offset.
func (w *overlaps) wasLive(pattern pubsub.Topic, offset uint64) bool {
	for _, c := range w.log.Clients {
		for _, e := range c.Events {
			if e.Kind == Subscribed && e.Topic == pattern && e.Time < w.event.Ask.Time && w.newest(e.Time) <= offset {
				return true
			}
		}
	}
	return false
}
