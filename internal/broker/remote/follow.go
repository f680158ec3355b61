package remote

import (
	"cmp"
	"slices"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// A Push is a message that the store sends to the nodes that subscribe to its topic.
type Push struct {
	Message pubsub.Message
	Before  uint64 // offset of the message before it

	// OfShard: it is pushed to the nodes that subscribe to Shard, and Before is the offset of the
	// message before it there.
	OfShard bool

	// Statement is the content of a push of a presence topic. Its Message has only Topic and
	// Position.
	Statement Statement
}

// maxBuffered limits the pushes that wait for a read of their topic. Pushes beyond the
// limit are read from the store later.
const maxBuffered = 1000

// settleEvery is how often settle looks again.
const settleEvery = 5 * time.Millisecond

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
	due     pubsub.Position // of the newest message that was published through this node
	reading bool            // catchUp is in progress
	again   bool            // there may be more to read than catchUp is reading now
	stale   bool            // the last read of catchUp failed
	late    pubsub.Position // the head when a check last found the log behind, if the shard leads it
	buffer  []Push          // pushes that came meanwhile, in order
	waiting []*attaching    // attachments that wait until the topic is live, or for catchUp
	others  others          // of a presence topic
}

// sorted returns the followers that keep selects, sorted by topic name.
func (n *Node) sorted(keep func(*follower) bool) (all []*follower) {
	for _, f := range n.followed {
		if keep(f) {
			all = append(all, f)
		}
	}
	slices.SortFunc(all, func(a, b *follower) int { return cmp.Compare(a.name, b.name) })
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
	n.store.Subscribe(f.name, func(err error) {
		switch {
		case n.followed[f.name] != f:
		case err != nil:
			n.fail(f)
		case f.live && n.shard.leads(f) && !f.stale:
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
	if watched, ok := topic.Watched(f.name); ok {
		n.store.Statements(watched, func(s Statements, err error) {
			n.opened(f, s.Head, err, func() { n.sharing.replace(f, s) })
		})
		return
	}
	if f.name == Shard {
		n.store.Head(Shard, func(head pubsub.Position, err error) { n.shard.open(f, head, err) })
		return
	}
	n.store.Head(f.name, func(head pubsub.Position, err error) { n.opened(f, head, err, func() {}) })
}

// opened opens the log of a topic after a head that was read, or was not because of err. It
// calls first before it opens the log.
func (n *Node) opened(f *follower, head pubsub.Position, err error, first func()) {
	switch {
	case n.followed[f.name] != f || f.live:
		return
	case err != nil:
		n.fail(f)
		return
	}
	if n.shard.leads(f) {
		n.shard.wait(f)
		return
	}
	first()
	openAt(n, f, head)
}

// openAt opens the log of a topic after a head.
func openAt(n *Node, f *follower, head pubsub.Position) {
	f.head = head
	for _, a := range f.takeWaiting() {
		if a.over || a.attachment.Cancelled() {
			a.finish(errUnavailable)
			continue
		}
		pin, err := n.config.Sink.Open(f.name, f.head, a.attachment.From)
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
}

// leave stops following a topic that is not live.
func (n *Node) leave(f *follower) {
	delete(n.followed, f.name)
	n.store.Unsubscribe(f.name)
	n.sharing.forgetOthers(f)
	n.shard.goOn()
}

// catchUp reads the messages that the log misses. Only one read of a topic is in flight.
func (n *Node) catchUp(f *follower) {
	switch {
	case f.reading:
		f.again = true
		return
	case f == n.shard.f && n.shard.stuck:
		n.shard.missed = true
		return
	}
	f.reading = true
	if watched, ok := topic.Watched(f.name); ok {
		n.store.Statements(watched, func(s Statements, err error) {
			n.caughtUp(f, err, func() {
				n.sharing.replace(f, s)
				n.takeBuffer(f)
			})
		})
		return
	}
	n.stats.CatchUps.Add(1)
	n.store.Read(f.name, Range{After: f.head, Until: Last, Newest: All}, func(p Page, err error) {
		f.again = f.again || p.More
		n.caughtUp(f, err, func() { n.splice(f, p) })
	})
}

// caughtUp ends a read of catchUp. It calls take if the read succeeded.
func (n *Node) caughtUp(f *follower, err error, take func()) {
	again := f.again
	f.reading, f.again = false, false
	switch {
	case n.followed[f.name] != f:
		return
	case err != nil:
		f.buffer, f.stale = nil, true
		n.fail(f)
		if f == n.shard.f {
			n.shard.refuse()
		}
		return
	}
	f.stale = false
	take()
	n.shard.goOn()
	switch {
	case again:
		n.catchUp(f)
	case f == n.shard.f:
		n.shard.release()
	case n.shard.leads(f) && len(f.waiting) > 0: // The shard may have more than the log.
		n.shard.wait(f)
	default:
		pinAll(n, f)
	}
}

// splice appends the messages that were read after the head of the log, and then the pushes
// that came meanwhile.
func (n *Node) splice(f *follower, p Page) {
	if f == n.shard.f {
		n.shard.splice(p)
		n.takeBuffer(f)
		return
	}
	if n.shard.leads(f) {
		p = n.shard.clip(p)
	}
	from := pubsub.Position{Epoch: p.Epoch, Offset: p.From}
	if f.passGap(from, n.stats) {
		n.config.Sink.Gap(f.name, from)
	}
	if len(p.Messages) > 0 {
		n.append(p.Messages)
		f.head = p.Messages[len(p.Messages)-1].Position
	}
	n.takeBuffer(f)
}

// passGap reports whether messages are missing between the head of f and from. It then moves the head
// there.
func (f *follower) passGap(from pubsub.Position, stats *broker.Stats) bool {
	switch {
	case from.Epoch != f.head.Epoch:
		stats.Restarts.Add(1)
	case from.Offset > f.head.Offset:
		stats.Missing.Add(1)
	default:
		return false
	}
	f.head = from
	return true
}

// takeBuffer takes the pushes that came while f was reading. It drops pushes of another
// epoch than that of the store's answer. If their epoch is newer, check finds out.
func (n *Node) takeBuffer(f *follower) {
	buffer := f.buffer
	f.buffer = nil
	n.take(slices.DeleteFunc(buffer, func(p Push) bool { return p.Message.Position.Epoch != f.head.Epoch }))
}

// Connected tells the node that it has connected to the store again: it subscribes to its
// topics, and brings their logs up to date. It is called on the goroutine of Work.
func (n *Node) Connected() {
	for _, f := range n.sorted(func(*follower) bool { return true }) {
		n.subscribe(f)
	}
	n.sharing.renew()
}

// NewEpoch tells the node that a new epoch has begun: it brings the logs of other epochs up
// to date. It is called on the goroutine of Work.
func (n *Node) NewEpoch(epoch string) {
	for _, f := range n.sorted(func(f *follower) bool { return f.live && f.head.Epoch != epoch && !n.shard.leads(f) }) {
		n.catchUp(f)
	}
	n.sharing.tellAll()
}

// Missed tells the node that it did not get a push of a topic. It is called on the goroutine
// of Work.
func (n *Node) Missed(name pubsub.Topic) {
	if f := n.followed[name]; f != nil && f.live && !n.shard.leads(f) {
		n.catchUp(f)
	}
}

// Receive takes pushes in the order in which the store sent them. Some may be missing, or
// come twice. It is called on the goroutine of Work.
func (n *Node) Receive(ps []Push) { n.take(ps) }

// take appends pushes to the logs of their topics.
func (n *Node) take(ps []Push) {
	var ms []pubsub.Message
	for _, p := range ps {
		f, at := n.followed[p.Followed()], p.Message.Position
		switch {
		case f == nil:
		case n.shard.leads(f): // The message comes with the shard.
		case !f.live || f.reading:
			f.keep(p)
		case at.Epoch != f.head.Epoch, p.Before > f.head.Offset: // Earlier pushes were lost.
			f.keep(p)
			n.catchUp(f)
		case at.Offset <= f.head.Offset:
		case p.OfShard:
			n.shard.add(p.Message)
		case topic.IsPresenceTopic(f.name):
			f.head = at
			n.sharing.hear(f, p.Statement)
		default:
			ms = append(ms, p.Message)
			f.head = at
		}
	}
	n.append(ms)
	if !n.shard.stuck {
		n.shard.drain()
	}
}

// Followed returns the topic whose nodes get the push: that of its message, or Shard.
func (p *Push) Followed() pubsub.Topic {
	if p.OfShard {
		return Shard
	}
	return p.Message.Topic
}

// append appends messages to the logs of their topics.
func (n *Node) append(ms []pubsub.Message) {
	now := time.Now()
	for i := range ms {
		n.stats.Lag.Add(int64(now.Sub(ms[i].Time)))
	}
	n.config.Sink.Append(ms)
}

// keep buffers a push.
func (f *follower) keep(p Push) {
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
	n.After(n.config.Check, func() {
		n.checking = false
		if len(n.followed) == 0 {
			return
		}
		n.check()
		n.shard.check()
		compare(n)
	})
}

// compare compares the heads of all logs with those of the store.
func compare(n *Node) {
	heads := make(map[pubsub.Topic]pubsub.Position, len(n.followed))
	for name, f := range n.followed {
		if f.live && !f.reading && !f.stale {
			heads[name] = f.head
		}
	}
	for _, f := range n.sorted(func(f *follower) bool { return f.live && !f.reading && f.stale }) {
		n.catchUp(f)
	}
	n.store.Behind(heads, func(behind []pubsub.Topic, _ error) {
		for _, name := range behind {
			f := n.followed[name]
			switch {
			case f == nil || !f.live || f.reading || f.head != heads[name]:
			case n.shard.leads(f) && f.late != f.head: // What it misses should come with the shard.
				f.late = f.head
			default:
				n.catchUp(f)
			}
		}
	})
}

// published notes that the store has accepted p from this node. f may be nil.
func (f *follower) published(p *pubsub.Publication) {
	if f != nil && p.Err == nil && (p.Position.Epoch != f.due.Epoch || p.Position.Offset > f.due.Offset) {
		f.due = p.Position
	}
}

// settle calls then once the logs have what was published through this node. It reads what
// did not come by pushes, and does not wait for logs that cannot be read.
func (n *Node) settle(then func()) {
	waiting := n.sorted(func(f *follower) bool {
		return f.live && !f.stale && f.due.Epoch == f.head.Epoch && f.due.Offset > f.head.Offset
	})
	if len(waiting) == 0 {
		then()
		return
	}
	for _, f := range waiting {
		if n.shard.leads(f) {
			f = n.shard.f
		}
		if !f.reading {
			n.catchUp(f)
		}
	}
	n.After(settleEvery, func() { n.settle(then) })
}
