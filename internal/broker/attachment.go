package broker

import (
	"sync"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// An Attachment asks the broker to make one topic live and to pin a resume point in it. Its
// methods are safe for concurrent use. Until the broker has finished it, an Attachment must
// not be copied or used again.
type Attachment struct {
	Topic pubsub.Topic
	From  topic.ResumePoint

	// Immutable until the broker has finished it.
	attacher *Attacher // counts it; nil: no Attacher does

	mu sync.Mutex
	// Guarded by mu.
	pin       topic.Pin // not taken yet; shared with the broker until finished
	err       error
	finished  bool   // by the broker
	settled   bool   // the result of Take is fixed
	cancelled bool   // no one will call Take again
	onSettled func() // nil: no call of Wait needs it
}

// Hold hands a pin over to the attachment, so that the memory that the pin keeps is limited
// while the broker reads its store. It returns the location of the pin, which the broker
// may pass to Sink.Prepend until it calls Finish. If the caller has stopped waiting for the
// attachment, Hold abandons the pin. It releases a pin that the attachment held before.
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

// Finish ends the broker's work on the attachment: with nil if the attachment holds its
// pin, or with the reason why it does not. Finish wakes the waiting caller. The broker
// calls it once, with no lock held.
func (a *Attachment) Finish(err error) {
	a.mu.Lock()
	a.finished = true
	onSettled := a.onSettled
	if a.settled {
		onSettled = nil // The attachment has already timed out.
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

// Take returns the pin of a finished attachment, which the caller then owns, or the error
// of a failed one.
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

// Failure returns the error that Take would return, or nil if there is no attachment.
func (a *Attachment) Failure() error {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.settled {
		return errTimeout
	}
	return a.err
}

// Cancel releases the pin unless it was taken. If the broker is not finished, the pin is
// released when it is. Cancel may be called several times, and after Take.
func (a *Attachment) Cancel() {
	a.mu.Lock()
	a.cancelled = true
	var unused topic.Pin
	if a.finished {
		unused, a.pin = a.pin, topic.Pin{}
	} else {
		a.pin.Abandon() // The broker uses the pin until Finish.
	}
	a.mu.Unlock()
	unused.Release()
}

// Cancelled reports whether the caller has stopped waiting for the attachment. A broker may
// then finish it early, with any error.
func (a *Attachment) Cancelled() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.cancelled || a.settled && !a.finished
}

// expire stops waiting for the broker: Take fails from now on.
func (a *Attachment) expire() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.settled {
		a.settled, a.err = true, errTimeout
		a.pin.Abandon()
	}
}

var errTimeout = pubsub.Errorf(pubsub.Unavailable, "the broker did not answer in time: try again later")

// lag returns how many bytes only the pin keeps in memory.
func (a *Attachment) lag() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.pin.Lag()
}

// abandon makes the pin keep nothing in memory.
func (a *Attachment) abandon() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pin.Abandon()
}
