package remote

import (
	"slices"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// attaching is an attachment that was not finished at once. The node's goroutine owns it.
type attaching struct {
	attachment *broker.Attachment
	again      bool // the log was already brought up to date for it
	over       bool // finished
}

// finish finishes the attachment, unless it is finished.
func (a *attaching) finish(err error) {
	if !a.over {
		a.over = true
		a.attachment.Finish(err)
	}
}

func (a *attaching) isOver() bool { return a.over }
func (a *attaching) timeOut()     { a.finish(errUnavailable) }

// Attach implements [broker.Broker]. It asks the store only if the topic is not live or its
// log does not cover the resume point.
func (n *Node) Attach(a *broker.Attachment) (finished bool) {
	if pin, ok := n.config.Sink.Pin(a.Topic, a.From); ok {
		if pin.Covered() {
			a.Hold(pin)
			a.Finish(nil)
			return true
		}
		pin.Release()
	}
	if n.Health() == nil && n.Post(func() { n.attach(&attaching{attachment: a}) }) {
		return false
	}
	a.Finish(errUnavailable)
	return true
}

func (n *Node) attach(a *attaching) {
	n.limit(a)
	name := a.attachment.Topic
	if name.IsPattern() {
		name = Shard
	}
	f := n.followed[name]
	if f != nil && f.live && (name != Shard || n.shard.opened && n.shard.agrees()) {
		n.pin(f, a)
		return
	}
	if f != nil {
		f.waiting = append(f.waiting, a)
		return
	}
	n.follow(&follower{name: name, waiting: []*attaching{a}})
}

// pinAll is pin for the attachments that wait for f.
func pinAll(n *Node, f *follower) {
	for _, a := range f.takeWaiting() {
		n.pin(f, a)
	}
}

// pin pins the resume point of a in the log of f, which is live. That of a pattern is opened if
// necessary.
func (n *Node) pin(f *follower, a *attaching) {
	switch {
	case a.over:
		return
	case f == n.shard.f:
		if pin, err := n.shard.openPattern(a); err != nil {
			a.finish(err)
		} else {
			n.cover(f, a, pin)
		}
		return
	}
	pin, ok := n.config.Sink.Pin(f.name, a.attachment.From)
	if !ok {
		panic("remote: a topic that is followed is not live")
	}
	n.cover(f, a, pin)
}

// cover fetches messages from the store if the pin is not covered, and prepends them.
// Meanwhile the pin's place stays readable, even if the log drops it.
func (n *Node) cover(f *follower, a *attaching, pin topic.Pin) {
	head := f.head
	if f == n.shard.f {
		head = n.shard.done
	}
	held := a.attachment.Hold(pin)
	switch {
	case held.Covered():
		a.finish(nil)
	case behind(head, &a.attachment.From) && !a.again:
		a.again = true
		f.waiting = append(f.waiting, a)
		if n.shard.leads(f) {
			n.shard.wait(f)
		} else {
			n.catchUp(f)
		}
	case !held.Wants():
		a.finish(nil)
	default:
		n.fill(f, a, held)
	}
}

// behind reports whether a resume point lies beyond the head of a log, which may mean that the log
// is behind the store.
func behind(head pubsub.Position, p *topic.ResumePoint) bool {
	switch {
	case p.Since.Epoch != "":
		return p.Since.Epoch != head.Epoch || p.Since.Offset > head.Offset
	case len(p.Epochs) > 0:
		return !slices.Contains(p.Epochs, head.Epoch)
	}
	return false
}

// fill reads the messages that are missing before a pin.
func (n *Node) fill(f *follower, a *attaching, pin *topic.Pin) {
	since, place := a.attachment.From.Since, pin.Position()
	r := Range{After: since, Until: place.Offset, Newest: All, Whole: true}
	if since.Epoch == "" {
		r.Newest = a.attachment.From.Last
	}
	pattern, isPattern := a.attachment.Topic.Pattern()
	if isPattern && since.Epoch == "" { // The store cannot count the messages that a pattern matches.
		a.finish(nil)
		return
	}
	n.store.Read(f.name, r, func(p Page, err error) {
		if a.over {
			return
		}
		if err != nil {
			a.finish(errUnavailable)
			return
		}
		some := true
		if isPattern {
			p.Messages, some = matching(pattern, p.Messages)
		}
		if some && p.Epoch == place.Epoch && p.From <= place.Offset && (since.Epoch == "" || p.covers(since)) {
			n.config.Sink.Prepend(pin, pubsub.Position{Epoch: p.Epoch, Offset: p.From}, p.Messages)
		}
		a.finish(nil)
	})
}

// Detach implements [broker.Broker].
func (n *Node) Detach(name pubsub.Topic) {
	n.Post(func() {
		if f := n.followed[name]; f != nil && f.live && n.config.Sink.Close(name) {
			n.leave(f)
		}
	})
}
