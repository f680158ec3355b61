package remote

import (
	"context"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// asking is a call of Ask. The goroutine of Work owns it.
type asking struct {
	answers   [][]byte
	itself    bool // the request has come to this node, too
	receivers int  // 0: not known yet
	done      chan answered
}

type answered struct {
	answers [][]byte
	asked   int
	err     error
}

var errNotAsked = pubsub.Errorf(pubsub.Unavailable, "the broker cannot be reached, and so the other servers cannot: try again")

// Ask implements [broker.Operated].
func (n *operating) Ask(ctx context.Context, request []byte) (answers [][]byte, asked int, err error) {
	ctx, cancel := context.WithTimeout(ctx, broker.Timeout) // in case the node ends
	defer cancel()
	a := &asking{done: make(chan answered, 1)}
	if n.store.Health() != nil || !n.Post(func() { n.ask(a, request) }) {
		return nil, 0, errNotAsked
	}
	select {
	case all := <-a.done:
		return all.answers, all.asked, all.err
	case <-ctx.Done():
		return nil, 0, caused(errNotAsked, context.Cause(ctx))
	}
}

func (n *operating) ask(a *asking, request []byte) {
	n.asks++
	number := n.asks
	if n.asking == nil {
		n.asking = make(map[uint64]*asking)
	}
	n.asking[number] = a
	n.store.Ask(number, request, func(receivers int, err error) {
		if err != nil {
			n.finishAsking(number, caused(errNotAsked, err))
			return
		}
		a.receivers = receivers
		n.checkAsked(number)
	})
	n.After(broker.AskTime, func() {
		if a.receivers == 0 {
			n.finishAsking(number, errNotAsked)
		} else {
			n.finishAsking(number, nil)
		}
	})
}

// checkAsked ends a request if all nodes have answered. The node does not answer itself.
func (n *operating) checkAsked(number uint64) {
	if a := n.asking[number]; a != nil && a.receivers > 0 && a.itself && len(a.answers) == a.receivers-1 {
		n.finishAsking(number, nil)
	}
}

func (n *operating) finishAsking(number uint64, err error) {
	if a := n.asking[number]; a != nil {
		delete(n.asking, number)
		a.done <- answered{a.answers, max(a.receivers-1, 0), err}
	}
}

// Asked tells the node about a request of a node, perhaps of its own. It is called on the
// goroutine of Work.
func (n *operating) Asked(asker string, number uint64, request []byte) {
	switch {
	case asker == n.config.Name:
		if a := n.asking[number]; a != nil {
			a.itself = true
			n.checkAsked(number)
		}
	case n.operator.Answer != nil:
		n.operator.Answer(request, func(answer []byte) {
			n.Post(func() { n.store.Answer(asker, number, answer) })
		})
	}
}

// Answered tells the node the answer to one of its requests. It is called on the goroutine of
// Work.
func (n *operating) Answered(number uint64, answer []byte) {
	if a := n.asking[number]; a != nil {
		a.answers = append(a.answers, answer)
		n.checkAsked(number)
	}
}
