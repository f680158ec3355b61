package broker

import (
	"context"
	"time"
)

// AskTime is how long [Operated.Ask] waits for the answers of other nodes.
const AskTime = 2 * time.Second

// Operated is the part of [Shared] that lets an operator act on all nodes: it stores the
// revocations of tokens, and carries requests to the other nodes. A broker does not know what
// a revocation or a request says.
//
// Every node learns all revocations: those that the store has when it connects, and others
// within seconds. [Broker.Health] fails after a connection until the node has read them. If
// the store has lost revocations, the nodes that still know them store them again.
type Operated interface {
	// Operate sets what the node does for operators. It is called once, before Run.
	// Otherwise the node does not read the revocations.
	Operate(o Operator)

	// Revoke stores revocations, removes others, and returns once the store has done both. It
	// does neither if that would be more than Operator.Most; the error has the code
	// OverCapacity. With Unavailable, nothing was stored; with OutcomeUnknown, all may have
	// been. Repeating a call is harmless.
	Revoke(ctx context.Context, add, remove []string) error

	// Ask sends a request to all other nodes that are connected to the store, and returns
	// the answers that come within [AskTime]. asked is the number of nodes that got the
	// request. If Ask fails, some may have got it.
	Ask(ctx context.Context, request []byte) (answers [][]byte, asked int, err error)
}

// An Operator is what a node does for operators. Its functions must not block.
type Operator struct {
	Most int // up to how many revocations Revoke adds

	// Learn takes revocations that the store has. Most of them are new to the node. It
	// returns those that need not be kept any longer.
	Learn func(revocations []string) (outdated []string)

	// Known returns all revocations that the node knows.
	Known func() []string

	// Answer carries out a request of another node, and then calls answer, once at most, on any
	// goroutine.
	Answer func(request []byte, answer func([]byte))
}
