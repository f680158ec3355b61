package remote

import (
	"context"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// History implements [broker.Broker]. It reads the store, which has all messages whose
// publishers have their answer.
func (n *Node) History(ctx context.Context, name pubsub.Topic, since pubsub.Position, limit int) (topic.History, error) {
	type answer struct {
		page Page
		err  error
	}
	answers := make(chan answer, 1)
	r := Range{After: since, Until: Last, Newest: All, Whole: true, Cancelled: func() bool { return ctx.Err() != nil }}
	if since.Epoch == "" {
		r.Newest = limit
	}
	posted := n.Post(func() {
		n.store.Read(name, r, func(p Page, err error) { answers <- answer{p, err} })
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
func (p *Page) history(since pubsub.Position, limit int) topic.History {
	ms := p.Messages[:min(len(p.Messages), limit)]
	y := topic.HistoryOf(pubsub.Position{Epoch: p.Epoch, Offset: p.From}, ms)
	y.Recovered = since.Epoch == "" || p.covers(since)
	y.More = len(ms) < len(p.Messages)
	return y
}
