package remote

import (
	"maps"
	"slices"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// A push is a message that the store sends to the nodes that subscribe to its topic.
type push struct {
	message pubsub.Message
	before  uint64 // the head before it
}

// maxBuffered limits the pushes that wait for a read of their topic. Pushes beyond the
// limit are read from the store later.
const maxBuffered = 1000

// A follower follows a topic: it keeps the log in step with the store. It begins as
// follows:
//
//  1. It subscribes, and waits for the confirmation. From then on it buffers pushes.
//  2. It reads the head, and opens the log after it.
//  3. It takes the buffered pushes that are beyond that head.
//
// From then on each push carries the head before it. If that is beyond the head of the log,
// pushes were lost. The follower then reads the missing messages, and buffers further
// pushes meanwhile. It does the same when heads differ and after a reconnect.
//
// The node's goroutine owns a follower.
type follower struct {
	name    pubsub.Topic
	live    bool            // the sink has opened the topic
	head    pubsub.Position // of the log, if live
	reading bool            // catchUp is in progress
	again   bool            // there may be more to read than catchUp is reading now
	buffer  []push          // pushes that came meanwhile, in order
	waiting []*attaching    // attachments that wait until the topic is live, or for catchUp
}

// sorted returns the followers, sorted by topic name.
func (n *Node) sorted() (all []*follower) {
	for _, name := range slices.Sorted(maps.Keys(n.followed)) {
		all = append(all, n.followed[name])
	}
	return all
}

// follow begins to follow a topic.
func (n *Node) follow(f *follower) {
	n.followed[f.name] = f
	n.subscribe(f)
	n.check()
}

// subscribe subscribes f, and then brings it up to date.
func (n *Node) subscribe(f *follower) {
	n.command(func() { n.store.subscribe(n, f.name) }, func(err error) {
		switch {
		case n.followed[f.name] != f:
		case err != nil:
			n.fail(f)
		case f.live:
			n.catchUp(f)
		default:
			n.open(f)
		}
	})
}

// fail refuses the attachments that wait for f. If f is live, it continues once the node
// has reconnected.
func (n *Node) fail(f *follower) {
	if !f.live {
		delete(n.followed, f.name)
	}
	for _, a := range f.takeWaiting() {
		a.finish(errUnavailable)
	}
}

func (f *follower) takeWaiting() []*attaching {
	waiting := f.waiting
	f.waiting = nil
	return waiting
}

// open reads the head of a topic and opens its log after it.
func (n *Node) open(f *follower) {
	n.call(func() { f.head = n.store.head(f.name) }, func(err error) {
		if err != nil {
			n.fail(f)
			return
		}
		for _, a := range f.takeWaiting() {
			if a.over || a.attachment.Cancelled() {
				a.finish(errUnavailable)
				continue
			}
			pin, err := n.sink.Open(f.name, f.head, a.attachment.From)
			if err != nil {
				a.finish(err)
				continue
			}
			f.live = true
			n.cover(f, a, pin)
		}
		if !f.live {
			n.leave(f)
			return
		}
		n.takeBuffer(f)
	})
}

// leave stops following a topic that is not live.
func (n *Node) leave(f *follower) {
	delete(n.followed, f.name)
	n.command(func() { n.store.unsubscribe(n, f.name) }, func(error) {})
}

// catchUp reads the messages that the log misses. Only one read of a topic is in flight.
func (n *Node) catchUp(f *follower) {
	if f.reading {
		f.again = true
		return
	}
	f.reading = true
	head := f.head
	var p page
	n.call(func() { p = n.store.readAfter(f.name, head) }, func(err error) {
		again := f.again
		f.reading, f.again = false, false
		switch {
		case n.followed[f.name] != f:
			return
		case err != nil:
			f.buffer = nil // The follower reads them after the reconnect.
			n.fail(f)
			return
		}
		n.splice(f, p)
		if again {
			n.catchUp(f)
			return
		}
		for _, a := range f.takeWaiting() {
			n.pin(f, a)
		}
	})
}

// splice appends the messages that were read after the head of the log, and then the pushes
// that came meanwhile.
func (n *Node) splice(f *follower, p page) {
	from := pubsub.Position{Epoch: p.epoch, Offset: p.from}
	if from.Epoch != f.head.Epoch || from.Offset > f.head.Offset {
		n.sink.Gap(f.name, from)
		f.head = from
	}
	if len(p.messages) > 0 {
		n.sink.Append(p.messages)
		f.head = p.messages[len(p.messages)-1].Position
	}
	n.takeBuffer(f)
}

// takeBuffer takes the pushes that came while f was reading. It drops pushes of another
// epoch than that of the store's answer. If their epoch is newer, check finds out.
func (n *Node) takeBuffer(f *follower) {
	buffer := f.buffer
	f.buffer = nil
	n.take(slices.DeleteFunc(buffer, func(p push) bool { return p.message.Position.Epoch != f.head.Epoch }))
}

// disconnect ends the connection to the store, and with it the subscriptions.
func (n *Node) disconnect() {
	if n.down {
		return
	}
	n.pushed = nil
	n.cut()
	n.store.hangUp(n) // This includes subscriptions that were not confirmed.
}

// connect reconnects, and brings the followed topics up to date.
func (n *Node) connect() {
	if !n.down {
		return
	}
	n.down = false
	for _, f := range n.sorted() {
		n.subscribe(f)
	}
}

// receive takes a push from the store, unless the push gets lost. A push may also come
// twice.
func (n *Node) receive(p push) {
	switch dice := n.random.IntN(20); {
	case n.down || dice == 0:
		return
	case dice == 1:
		n.after(n.delay(), func() { n.take([]push{p}) })
	}
	n.pushed = append(n.pushed, p)
	if len(n.pushed) == 1 { // Pushes that follow until then arrive together with it, in a burst.
		n.after(n.delay(), n.deliver)
	}
}

// deliver takes the pushes that have arrived.
func (n *Node) deliver() {
	burst := n.pushed
	n.pushed = nil
	n.take(burst)
}

// take appends pushes to the logs of their topics.
func (n *Node) take(ps []push) {
	var ms []pubsub.Message
	for _, p := range ps {
		f, at := n.followed[p.message.Topic], p.message.Position
		switch {
		case f == nil:
		case !f.live || f.reading:
			f.keep(p)
		case at.Epoch != f.head.Epoch, p.before > f.head.Offset: // Earlier pushes were lost.
			f.keep(p)
			n.catchUp(f)
		case at.Offset > f.head.Offset:
			ms = append(ms, p.message)
			f.head = at
		}
	}
	n.sink.Append(ms)
}

// keep buffers a push.
func (f *follower) keep(p push) {
	if len(f.buffer) == maxBuffered {
		f.buffer, f.again = nil, f.reading
		return
	}
	f.buffer = append(f.buffer, p)
}

// check compares the heads of all logs with those of the store at intervals, as long as the
// node follows topics. It is needed because the last push of a topic may be lost.
func (n *Node) check() {
	if n.checking {
		return
	}
	n.checking = true
	n.after(n.store.config.Check, func() {
		n.checking = false
		if len(n.followed) == 0 {
			return
		}
		n.check()
		heads := make(map[pubsub.Topic]pubsub.Position, len(n.followed))
		for name, f := range n.followed {
			if f.live && !f.reading {
				heads[name] = f.head
			}
		}
		var behind []pubsub.Topic
		n.call(func() { behind = n.store.behind(heads) }, func(error) {
			for _, name := range behind {
				if f := n.followed[name]; f != nil && f.live && !f.reading && f.head == heads[name] {
					n.catchUp(f)
				}
			}
		})
	})
}
