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
	if a.Topic.IsPattern() {
		a.Finish(topic.ErrNoPatterns)
		return true
	}
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
	f := n.followed[a.attachment.Topic]
	if f != nil && f.live {
		n.pin(f, a)
		return
	}
	if f != nil {
		f.waiting = append(f.waiting, a)
		return
	}
	n.follow(&follower{name: a.attachment.Topic, waiting: []*attaching{a}})
}

// pin pins the resume point of a in the log of f, which is live.
func (n *Node) pin(f *follower, a *attaching) {
	if a.over {
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
	held := a.attachment.Hold(pin)
	switch {
	case held.Covered():
		a.finish(nil)
	case f.behind(&a.attachment.From) && !a.again:
		a.again = true
		f.waiting = append(f.waiting, a)
		n.catchUp(f)
	case !held.Wants():
		a.finish(nil)
	default:
		n.fill(f, a, held)
	}
}

// behind reports whether a resume point lies beyond the log, which may mean that the log is
// behind the store.
func (f *follower) behind(p *topic.ResumePoint) bool {
	switch {
	case p.Since.Epoch != "":
		return p.Since.Epoch != f.head.Epoch || p.Since.Offset > f.head.Offset
	case len(p.Epochs) > 0:
		return !slices.Contains(p.Epochs, f.head.Epoch)
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
	n.store.Read(f.name, r, func(p Page, err error) {
		if a.over {
			return
		}
		if err != nil {
			a.finish(errUnavailable)
			return
		}
		if p.Epoch == place.Epoch && p.From <= place.Offset && (since.Epoch == "" || p.covers(since)) {
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
