package remote

import (
	"errors"
	"slices"
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// maxBatch is the maximum number of messages in one request to the store. A single call of
// Publish may exceed it.
const maxBatch = 64

// publishing is a call of Publish in flight. The node's goroutine owns it.
type publishing struct {
	node *Node
	ps   []pubsub.Publication // the caller owns it again once over
	done func()
	size int                  // in bytes
	open int                  // number of the publications that had no error
	sent []pubsub.Publication // the copy that the store works on; nil: not sent
	over bool

	deadline time.Time // when it is over
}

func (p *publishing) isOver() bool { return p.over }

func (p *publishing) timeOut() {
	err := ErrUnknown
	if p.sent == nil {
		err = errUnavailable
	}
	p.node.finish(p, err)
}

// ErrNotSent is the error of a request that the store did not get.
var ErrNotSent = errors.New("remote: there is no connection to the store")

var (
	// ErrUnknown is the outcome of a message that may have been published.
	ErrUnknown = pubsub.Errorf(pubsub.OutcomeUnknown, "the broker did not answer, so the message may have been published: if it had a key, publish it again with the same key")

	errUnavailable = pubsub.Errorf(pubsub.Unavailable, "the broker cannot be reached: try again later")
	errFull        = pubsub.Errorf(pubsub.OverCapacity, "too many messages are being published: try again later")
	errClosed      = pubsub.Errorf(pubsub.Draining, "this server is shutting down: publish again to reach another one")
)

// Publish implements [broker.Broker].
func (n *Node) Publish(ps []pubsub.Publication, done func()) (finished bool) {
	p := &publishing{node: n, ps: ps, done: done}
	for i := range ps {
		if ps[i].Err == nil {
			p.open++
			p.size += len(ps[i].Body.Data) + topic.Overhead
		}
	}
	if err := n.accept(p); err != nil {
		setErr(ps, err)
		return true
	}
	return p.open == 0
}

// accept posts a call of Publish, or returns why it cannot.
func (n *Node) accept(p *publishing) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.closed:
		return errClosed
	case n.store.Health() != nil:
		return errUnavailable
	case int(n.stats.PublishingBytes.Load())+p.size > n.config.MaxInFlight:
		return errFull
	case p.open == 0:
		return nil
	case !n.Post(func() { n.enqueue(p) }):
		return errUnavailable
	}
	n.stats.Publishing.Add(int64(p.open))
	n.stats.PublishingBytes.Add(int64(p.size))
	n.publishes.Add(1) // The publish cannot finish before this, because finish takes mu.
	return nil
}

// setErr sets err on all publications that have no error.
func setErr(ps []pubsub.Publication, err error) {
	for i := range ps {
		if ps[i].Err == nil {
			ps[i].Err = err
		}
	}
}

func (n *Node) enqueue(p *publishing) {
	p.deadline = n.limit(p)
	n.queue = append(n.queue, p)
	n.send()
}

// send sends the queue. While a request is in flight, further messages wait for the next
// one. This keeps messages in the order in which they were published, and makes requests
// larger under load.
func (n *Node) send() {
	n.queue = slices.DeleteFunc(n.queue, func(p *publishing) bool { return p.over })
	if n.sending || len(n.queue) == 0 {
		return
	}
	batch, messages := 0, 0
	for batch < len(n.queue) && (batch == 0 || messages+len(n.queue[batch].ps) <= maxBatch) {
		messages += len(n.queue[batch].ps)
		batch++
	}
	sent := slices.Clone(n.queue[:batch])
	n.queue = slices.Delete(n.queue, 0, batch)
	all := make([]pubsub.Publication, 0, messages)
	for _, p := range sent { // Copies, because the store may still work on them when p is over.
		all = append(all, p.ps...)
		p.sent = all[len(all)-len(p.ps):]
	}
	n.sending = true
	n.store.Publish(all, sent[0].deadline, func(err error) {
		n.sending = false
		if err == nil {
			for i := range all {
				n.followed[all[i].Topic].published(&all[i])
				n.shard.f.published(&all[i])
			}
		}
		for _, p := range sent {
			switch {
			case err == nil:
				n.finish(p, nil)
			case errors.Is(err, ErrNotSent):
				n.finish(p, errUnavailable)
			default:
				n.finish(p, ErrUnknown)
			}
		}
		n.send()
	})
}

// finish sets the outcome of the publications of p: the store's outcome, or err. It does
// nothing if p is over.
func (n *Node) finish(p *publishing, err error) {
	if p.over {
		return
	}
	if err == nil {
		copy(p.ps, p.sent)
	} else {
		setErr(p.ps, err)
	}
	done := p.done
	p.over, p.ps, p.sent, p.done = true, nil, nil, nil // limits may still refer to p
	n.mu.Lock()
	n.stats.Publishing.Add(-int64(p.open))
	n.stats.PublishingBytes.Add(-int64(p.size))
	n.mu.Unlock()
	n.trim()
	done()
	n.publishes.Done()
}
