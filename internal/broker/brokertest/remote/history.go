package remote

import (
	"context"
	"math"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// History implements [broker.Broker]. It reads the store, which has all messages whose
// publishers have their answer.
func (n *Node) History(ctx context.Context, name pubsub.Topic, since pubsub.Position, limit int) (topic.History, error) {
	type answer struct {
		page page
		err  error
	}
	answers := make(chan answer, 1)
	posted := n.post(func() {
		var p page
		n.call(func() {
			if since.Epoch == "" {
				p = n.store.read(name, 0, math.MaxUint64, limit)
			} else {
				p = n.store.readSince(name, since)
			}
		}, func(err error) { answers <- answer{p, err} })
	})
	if !posted {
		return topic.History{}, errUnavailable
	}
	select {
	case a := <-answers:
		if a.err != nil {
			return topic.History{}, errUnavailable
		}
		return a.page.history(since, limit), nil
	case <-ctx.Done():
		return topic.History{}, ctx.Err()
	}
}

// history returns up to limit messages of a page that was read from since on.
func (p *page) history(since pubsub.Position, limit int) topic.History {
	ms := p.messages[:min(len(p.messages), limit)]
	y := topic.HistoryOf(pubsub.Position{Epoch: p.epoch, Offset: p.from}, ms)
	y.Recovered = since.Epoch == "" || p.covers(since)
	y.More = len(ms) < len(p.messages)
	return y
}
