package remote

import (
	"context"
	"slices"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// maxBatch is how many messages one request to the store carries, but for a single call
// of Publish with more.
const maxBatch = 64

// publishing is a call of Publish that is under way. It belongs to the node's goroutine.
type publishing struct {
	ps   []pubsub.Publication // the caller's again once over
	done func()
	size int
	sent []pubsub.Publication // what the store works on; nil: not sent
	over bool
}

var (
	errUnknown = pubsub.Errorf(pubsub.OutcomeUnknown, "the broker did not answer: the message may have been published")
	errFull    = pubsub.Errorf(pubsub.OverCapacity, "too many messages are being published: try again later")
	errClosed  = pubsub.Errorf(pubsub.Draining, "this server is shutting down: publish again, another one will answer")
)

// Publish implements [broker.Broker].
func (n *Node) Publish(ps []pubsub.Publication, done func()) (finished bool) {
	size := 0
	for i := range ps {
		if ps[i].Err == nil {
			size += len(ps[i].Body.Data) + topic.Overhead
		}
	}
	if err := n.accept(ps, size, done); err != nil {
		setErr(ps, err)
		return true
	}
	return size == 0
}

// accept posts a call of Publish, or returns why not.
func (n *Node) accept(ps []pubsub.Publication, size int, done func()) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.closed:
		return errClosed
	case n.away:
		return errUnavailable
	case n.inFlight+size > n.store.config.MaxInFlight:
		return errFull
	case size == 0:
		return nil
	case !n.post(func() { n.enqueue(&publishing{ps: ps, done: done, size: size}) }):
		return errUnavailable
	}
	n.inFlight += size
	n.publishes.Add(1) // The publish is finished after this, since that takes mu.
	return nil
}

// setErr gives an error to all that have none.
func setErr(ps []pubsub.Publication, err error) {
	for i := range ps {
		if ps[i].Err == nil {
			ps[i].Err = err
		}
	}
}

func (n *Node) enqueue(p *publishing) {
	n.after(broker.Timeout, func() {
		if p.sent == nil {
			n.finish(p, errUnavailable)
		} else {
			n.finish(p, errUnknown)
		}
	})
	n.queue = append(n.queue, p)
	n.send()
}

// send sends what is queued. While a request is under way, the next one is collected: so
// messages are ordered as they were published, and requests get larger under load.
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
	for _, p := range sent {
		p.sent = slices.Clone(p.ps) // The store may still work on it when p is over.
	}
	n.sending = true
	n.call(func() {
		for _, p := range sent {
			n.store.publish(p.sent)
		}
	}, func(err error) {
		n.sending = false
		for _, p := range sent {
			switch err {
			case nil:
				n.finish(p, nil)
			case errAway:
				n.finish(p, errUnavailable)
			default:
				n.finish(p, errUnknown)
			}
		}
		n.send()
	})
}

// finish gives the publications of p the outcome that the store gave them, or err. It does
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
	p.over = true
	n.mu.Lock()
	n.inFlight -= p.size
	n.mu.Unlock()
	p.done()
	n.publishes.Done()
}

// Close implements [broker.Broker]. If ctx ends first, a goroutine is left until the
// publishes under way have their answer.
func (n *Node) Close(ctx context.Context) error {
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	closed := make(chan struct{})
	go func() {
		n.publishes.Wait()
		close(closed)
	}()
	select {
	case <-closed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
