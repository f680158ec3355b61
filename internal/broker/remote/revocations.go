package remote

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync/atomic"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// Revocations are a part of those that the store has.
type Revocations struct {
	At      pubsub.Position // what the next part begins after
	Entries []string        // oldest first
	Whole   bool            // this is the first part of all
	More    bool            // there is another part
}

// maxRestored is how many revocations one request stores again.
const maxRestored = 500

var (
	// ErrFull is for stores that have no room for more revocations.
	ErrFull = errors.New("remote: the store has no room for more revocations")

	errUnread       = errors.New("the revocations of tokens are not read yet")
	errManyRevoked  = pubsub.Errorf(pubsub.OverCapacity, "the list of revocations is full: wait until some expire, or revoke more tokens with one entry, for example all of a subject")
	errRevokeLater  = pubsub.Errorf(pubsub.Unavailable, "the broker cannot be reached, so the revocation was not stored: try again")
	errRevokedMaybe = pubsub.Errorf(pubsub.OutcomeUnknown, "the broker did not answer, so it is not known whether the revocation was stored: try again, which is harmless")
)

// operating is what a node does for its operator. Every connection to the store has a number.
// The revocations are known once they were read over the present connection: what is added
// after that, the store announces.
type operating struct {
	*Node // which it belongs to

	operator broker.Operator // immutable after Operate; without functions, nothing is read

	connection atomic.Uint64 // number of the present one
	known      atomic.Uint64 // number of the connection over which the revocations were read

	// Owned by the goroutine of Work.
	readTo    pubsub.Position // up to where the revocations were read
	reread    bool            // all of them have to be read again
	stored    bool            // the store may have some after readTo, whatever it announces
	reading   bool
	again     bool            // there may be more than is being read
	listening uint64          // number of the connection over which the node gets announcements
	seen      map[string]bool // revocations of the store, while all of them are being read; else nil

	asks   uint64 // number of the last request
	asking map[uint64]*asking
}

// Operate implements [broker.Operated].
func (n *operating) Operate(o broker.Operator) { n.operator = o }

// Connecting tells the node that the store is about to connect. It returns the number of the
// connection. It is safe for concurrent use.
func (n *operating) Connecting() uint64 { return n.connection.Add(1) }

// Listening tells the node that it gets requests and announcements over a connection from now
// on. It is called on the goroutine of Work.
func (n *operating) Listening(connection uint64) {
	n.listening = connection
	n.readRevocations()
}

// revocationsRead returns an error as long as revocations may be missing.
func (n *operating) revocationsRead() error {
	if n.operator.Learn != nil && n.known.Load() != n.connection.Load() {
		return errUnread
	}
	return nil
}

// RevokedAt tells the node the position of the last revocation of the store. The store calls it
// every few seconds, on the goroutine of Work.
func (n *operating) RevokedAt(last pubsub.Position) {
	if last != n.readTo || n.stored || n.reread || n.revocationsRead() != nil {
		n.readRevocations()
	}
}

// readRevocations reads what the node does not know yet.
func (n *operating) readRevocations() {
	if n.operator.Learn == nil {
		return
	}
	if n.reading {
		n.again = true
		return
	}
	if n.reread {
		n.readTo, n.reread = pubsub.Position{}, false
	}
	n.reading, n.stored = true, false
	n.readPart(n.listening)
}

func (n *operating) readPart(over uint64) {
	n.store.Revocations(n.readTo, func(p Revocations, err error) {
		if err != nil { // The store will say again that there are more.
			n.reread = n.reread || n.seen != nil
			n.reading, n.again, n.seen, n.stored = false, false, nil, true
			return
		}
		n.learn(p)
		switch {
		case p.More:
			n.readPart(over)
			return
		case n.seen != nil:
			n.restore()
		}
		n.reading = false
		if n.again {
			n.again = false
			n.readRevocations()
			return
		}
		n.known.Store(over)
	})
}

// learn takes a part of the revocations.
func (n *operating) learn(p Revocations) {
	n.readTo = p.At
	if p.Whole {
		n.seen = make(map[string]bool)
	}
	if n.seen != nil {
		for _, e := range p.Entries {
			n.seen[e] = true
		}
	}
	if outdated := n.operator.Learn(p.Entries); len(outdated) > 0 {
		n.store.Revoke(nil, outdated, n.operator.Most, func(error) {}) // The next node that reads all of them tries again.
	}
}

// restore stores the revocations that the node knows and the store has lost. It ignores the limit:
// the store had room for each of them before, and none may be lost. If nodes know different ones,
// the total can exceed the limit.
func (n *operating) restore() {
	lost := slices.DeleteFunc(n.operator.Known(), func(e string) bool { return n.seen[e] })
	n.seen = nil
	for part := range slices.Chunk(lost, maxRestored) {
		n.stored = true
		n.store.Revoke(part, nil, math.MaxInt32, func(err error) {
			if err != nil {
				n.reread = true // The next announcement makes the node try again.
			}
		})
	}
}

// Revoke implements [broker.Operated].
func (n *operating) Revoke(ctx context.Context, add, remove []string) error {
	ctx, cancel := context.WithTimeout(ctx, broker.Timeout)
	defer cancel()
	done := make(chan error, 1)
	revoke := func() {
		n.store.Revoke(add, remove, n.operator.Most, func(err error) {
			n.stored = true
			done <- err
		})
	}
	if n.store.Health() != nil || !n.Post(revoke) {
		return errRevokeLater
	}
	select {
	case err := <-done:
		switch {
		case err == nil:
			return nil
		case errors.Is(err, ErrFull):
			n.Post(func() { // to remove what is outdated
				n.reread = true
				n.readRevocations()
			})
			return errManyRevoked
		case errors.Is(err, ErrNotSent):
			return caused(errRevokeLater, err)
		}
		return caused(errRevokedMaybe, err)
	case <-ctx.Done():
		return caused(errRevokedMaybe, context.Cause(ctx))
	}
}

// caused returns e with a cause for the log.
func caused(e *pubsub.Error, err error) error {
	return &pubsub.Error{Code: e.Code, Detail: e.Detail, Err: err}
}
