package broker

import (
	"sync"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// An Attachment asks for one topic to be made live, and for a resume point in it to be
// pinned. Its methods are safe for concurrent use. It must not be copied or used again
// while it is with a broker, which is until it is finished.
type Attachment struct {
	Topic pubsub.Topic
	From  topic.ResumePoint

	// Immutable while it is with a broker.
	attacher *Attacher // counts it; nil: nobody does

	mu sync.Mutex
	// Guarded by mu.
	pin       topic.Pin // that was not taken; the broker's too until finished
	err       error
	finished  bool   // by the broker
	settled   bool   // what Take returns is fixed
	cancelled bool   // nobody calls Take any more
	onSettled func() // nil: nothing waits
}

// Hold has the attachment hold a pin, so that what the pin keeps in memory is bounded while
// the broker reads its store. It returns where the pin is, for Sink.Prepend until Finish.
// If nobody waits for the attachment any more, the pin is abandoned. If the attachment held
// another pin, that is released.
func (a *Attachment) Hold(pin topic.Pin) *topic.Pin {
	a.mu.Lock()
	before := a.pin
	a.pin = pin
	if a.cancelled || a.settled {
		a.pin.Abandon()
	}
	a.mu.Unlock()
	before.Release()
	return &a.pin
}

// Finish says that the attachment holds the pin that was asked for, or why it does not.
// It tells what waits. The broker calls it once, with no lock held.
func (a *Attachment) Finish(err error) {
	a.mu.Lock()
	a.finished = true
	onSettled := a.onSettled
	if a.settled {
		onSettled = nil // It took too long.
	}
	var unused topic.Pin
	if a.settled || a.cancelled || err != nil {
		unused, a.pin = a.pin, topic.Pin{}
	}
	if !a.settled {
		a.settled, a.err = true, err
	}
	a.onSettled = nil
	attacher := a.attacher
	a.mu.Unlock()
	unused.Release()
	if attacher != nil {
		attacher.waiting.Add(-1)
	}
	if onSettled != nil {
		onSettled()
	}
}

// Take returns the pin of a finished attachment, which is the caller's from then on, or
// why there is none.
func (a *Attachment) Take() (topic.Pin, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.settled {
		return topic.Pin{}, errTimeout
	}
	if a.err != nil {
		return topic.Pin{}, a.err
	}
	pin := a.pin
	a.pin = topic.Pin{}
	return pin, nil
}

// Cancel releases the pin if it was not taken, now or when it comes. It may be called
// several times, and after Take.
func (a *Attachment) Cancel() {
	a.mu.Lock()
	a.cancelled = true
	var unused topic.Pin
	if a.finished {
		unused, a.pin = a.pin, topic.Pin{}
	} else {
		a.pin.Abandon() // It stays the broker's until Finish.
	}
	a.mu.Unlock()
	unused.Release()
}

// Cancelled reports whether nobody waits for the attachment any more: a broker may finish
// it early, with any error.
func (a *Attachment) Cancelled() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.cancelled || a.settled && !a.finished
}

// expire gives up on the broker: Take fails from now on.
func (a *Attachment) expire() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.settled {
		a.settled, a.err = true, errTimeout
		a.pin.Abandon()
	}
}

var errTimeout = pubsub.Errorf(pubsub.Unavailable, "the broker did not answer in time: try again later")

// lag returns what only the pin keeps in memory, in bytes.
func (a *Attachment) lag() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.pin.Lag()
}

// abandon has the pin keep nothing.
func (a *Attachment) abandon() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pin.Abandon()
}
