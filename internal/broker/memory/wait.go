package memory

import (
	"sync"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// A wait is a call of Publish with keys that other calls are ordering. It gets their
// outcome.
type wait struct {
	// Immutable.
	keys  *keys
	done  func() // called once the wait is over
	waits *sync.WaitGroup
	timer *time.Timer

	// Guarded by keys.mu.
	ps        []pubsub.Publication // the caller's again once over
	firsts    []*first             // of ps
	unsettled int                  // of firsts
	over      bool
}

// await gives the publications that this call did not order what became of the first
// publishing of their key. If that is not known of all, it returns false, and done is
// called later; until it has returned, waits has one more.
func (k *keys) await(c *claim, ps []pubsub.Publication, done func(), waits *sync.WaitGroup) (finished bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var w *wait
	for i, f := range c.firsts {
		if f == nil || ps[i].Err != errElsewhere || f.settled {
			continue
		}
		if w == nil {
			w = &wait{keys: k, done: done, waits: waits, ps: ps, firsts: c.firsts}
		}
		f.waits = append(f.waits, w)
		w.unsettled++
	}
	if w == nil {
		takeOutcomes(ps, c.firsts)
		return true
	}
	waits.Add(1)
	w.timer = time.AfterFunc(broker.Timeout, w.expire)
	return false
}

// giveUp gives publications whose key another call is ordering an outcome after a panic:
// nobody waits for the other call.
func (k *keys) giveUp(c *claim, ps []pubsub.Publication) {
	k.mu.Lock()
	defer k.mu.Unlock()
	takeOutcomes(ps, c.firsts)
}

// takeOutcomes gives publications the outcome of the first publishing of their key, as
// far as it is known. It needs the lock of the keys.
func takeOutcomes(ps []pubsub.Publication, firsts []*first) {
	for i, f := range firsts {
		switch p := &ps[i]; {
		case f == nil || p.Err != errElsewhere:
		case f.settled:
			p.Position, p.Err = f.position, f.err
		default:
			p.Err = errUndecided
		}
	}
}

// endLocked sets what became of the publications, and reports whether the wait was not
// over yet.
func (w *wait) endLocked() bool {
	if w.over {
		return false
	}
	w.over = true
	takeOutcomes(w.ps, w.firsts)
	return true
}

var errUndecided = pubsub.Errorf(pubsub.OutcomeUnknown, "the same message is being published: publish it again with the same key")

// expire ends a wait that takes too long.
func (w *wait) expire() {
	w.keys.mu.Lock()
	ended := w.endLocked()
	w.keys.mu.Unlock()
	if ended {
		w.tell()
	}
}

// tell calls done. If that panics, the wait is over nevertheless.
func (w *wait) tell() {
	defer w.waits.Done()
	w.timer.Stop()
	w.done()
}

// tell calls back the calls that waited for this one, also if one of them panics. No lock
// is held.
func (c *claim) tell() {
	for _, w := range c.over {
		defer w.tell()
	}
}
