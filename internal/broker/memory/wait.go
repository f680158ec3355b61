package memory

import (
	"sync"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// A wait is a call of Publish with keys that other calls are ordering. It takes over their
// outcome.
type wait struct {
	// Immutable.
	keys  *keys
	done  func() // called once the wait is over
	waits *sync.WaitGroup
	timer *time.Timer

	// Guarded by keys.mu.
	ps        []pubsub.Publication // the caller owns it again once over
	firsts    []*first             // of ps
	unsettled int                  // how many of firsts have no outcome yet
	over      bool
}

// await sets the outcome of each publication that this call did not order to the outcome of
// the first publication of its key. If some outcomes are not known yet, await returns false
// and done is called later; waits counts one more until done has returned.
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

// giveUp sets an outcome after a panic for publications whose key another call is ordering,
// because the caller no longer waits for that call.
func (k *keys) giveUp(c *claim, ps []pubsub.Publication) {
	k.mu.Lock()
	defer k.mu.Unlock()
	takeOutcomes(ps, c.firsts)
}

// takeOutcomes sets the outcome of publications to that of the first publication of their
// key. Where that is not known, the outcome is errUndecided. The caller holds the lock of
// the keys.
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

// endLocked sets the outcome of the publications, and reports whether the wait was not over
// yet.
func (w *wait) endLocked() bool {
	if w.over {
		return false
	}
	w.over = true
	takeOutcomes(w.ps, w.firsts)
	return true
}

var errUndecided = pubsub.Errorf(pubsub.OutcomeUnknown, "another request is still publishing a message with this key: publish again later, with the same key")

// expire ends a wait that has timed out.
func (w *wait) expire() {
	w.keys.mu.Lock()
	ended := w.endLocked()
	w.keys.mu.Unlock()
	if ended {
		w.finish()
	}
}

// finish calls done. The wait is over even if done panics.
func (w *wait) finish() {
	defer w.waits.Done()
	w.timer.Stop()
	w.done()
}

// endWaits ends the waits of the calls that waited for this one, even if one of them panics.
// The caller holds no lock.
func (c *claim) endWaits() {
	for _, w := range c.over {
		defer w.finish()
	}
}
