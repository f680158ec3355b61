package broker

import (
	"cmp"
	"container/list"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// AttacherConfig configures [NewAttacher]. The zero value works.
type AttacherConfig struct {
	MaxWaiting     int    // attachments that are with the broker at once; 0: 10,000
	MaxPinnedBytes uint64 // that only the pins of attachments that wait keep in memory, checked every second; 0: 64 MiB
}

const (
	defaultMaxWaiting     = 10_000
	defaultMaxPinnedBytes = 64 << 20

	// checkPinsEvery is how often the pins are checked.
	checkPinsEvery = time.Second
)

// An Attacher attaches topics for all sessions and requests of a node, the topics of a
// command together. Safe for concurrent use.
type Attacher struct {
	// Immutable after NewAttacher.
	broker Broker
	config AttacherConfig

	waiting atomic.Int64 // attachments that are with the broker

	mu sync.Mutex
	// Guarded by mu.
	calls list.List   // of *call: those of Wait that are not over, in order
	check *time.Timer // of the pins; nil: none was needed yet
}

// NewAttacher returns an Attacher that attaches through b.
func NewAttacher(b Broker, c AttacherConfig) *Attacher {
	c.MaxWaiting = cmp.Or(c.MaxWaiting, defaultMaxWaiting)
	c.MaxPinnedBytes = cmp.Or(c.MaxPinnedBytes, defaultMaxPinnedBytes)
	return &Attacher{broker: b, config: c}
}

// Waiting returns how many attachments are with the broker now.
func (x *Attacher) Waiting() int { return int(x.waiting.Load()) }

// Attach has the broker attach all of as, and reports whether they are finished. Else
// the caller calls Wait at once. It does not wait, and allocates nothing besides what the
// broker does. Each attachment that is finished has its own result: [Attachment.Take].
func (x *Attacher) Attach(as []Attachment) (finished bool) {
	finished = true
	for i := range as {
		a := &as[i]
		a.attacher = x
		if x.waiting.Add(1) > int64(x.config.MaxWaiting) {
			a.Finish(errTooManyWait)
		} else if !x.broker.Attach(a) {
			finished = false
		}
	}
	return finished
}

var errTooManyWait = pubsub.Errorf(pubsub.OverCapacity, "too many subscriptions wait for the broker: try again later")

// Wait calls done once all of as can be taken, which is after [Timeout] at the latest,
// once and on another goroutine. Those that the broker has not finished by then fail with
// Unavailable.
//
// The returned function cancels: done is not called any more, unless it is under way, and
// no pin is left.
func (x *Attacher) Wait(as []Attachment, done func()) (cancel func()) {
	c := &call{attacher: x, as: as, done: done}
	c.unsettled.Store(1) // For this loop.
	for i := range as {
		a := &as[i]
		a.mu.Lock()
		if !a.settled {
			c.unsettled.Add(1)
			a.onSettled = c.settle
		}
		a.mu.Unlock()
	}
	x.add(c)
	if c.unsettled.Add(-1) == 0 {
		go c.finish()
	}
	return c.cancel
}

// A call is one of Wait.
type call struct {
	// Immutable after Wait.
	attacher *Attacher
	as       []Attachment
	done     func()

	// Guarded by Attacher.mu.
	timer   *time.Timer
	element *list.Element // of Attacher.calls

	unsettled atomic.Int64 // attachments
	over      atomic.Bool  // finished or cancelled
}

// settle counts an attachment that the broker has finished.
func (c *call) settle() {
	if c.unsettled.Add(-1) == 0 {
		c.finish()
	}
}

func (c *call) expire() {
	for i := range c.as {
		c.as[i].expire()
	}
	c.finish()
}

func (c *call) finish() {
	if c.end() {
		c.done()
	}
}

func (c *call) cancel() {
	c.end()
	for i := range c.as {
		c.as[i].Cancel()
	}
}

// end ends the call, and reports whether it was not over yet.
func (c *call) end() bool {
	if c.over.Swap(true) {
		return false
	}
	c.attacher.remove(c)
	return true
}

func (x *Attacher) add(c *call) {
	x.mu.Lock()
	defer x.mu.Unlock()
	c.timer = time.AfterFunc(Timeout, c.expire)
	c.element = x.calls.PushBack(c)
	if x.calls.Len() > 1 {
		return
	}
	if x.check == nil {
		x.check = time.AfterFunc(checkPinsEvery, x.checkPins)
		return
	}
	x.check.Reset(checkPinsEvery)
}

func (x *Attacher) remove(c *call) {
	x.mu.Lock()
	defer x.mu.Unlock()
	c.timer.Stop()
	x.calls.Remove(c.element)
	if x.calls.Len() == 0 {
		x.check.Stop()
	}
}

// checkPins bounds what pins keep in memory by AttacherConfig.MaxPinnedBytes. It abandons
// pins beyond that, those of the newest calls first.
func (x *Attacher) checkPins() {
	var total uint64
	for _, c := range x.waitingCalls() {
		for i := range c.as {
			lag := c.as[i].lag()
			if total+lag > x.config.MaxPinnedBytes {
				c.as[i].abandon()
				continue
			}
			total += lag
		}
	}
}

// waitingCalls returns the calls that are not over, the oldest first. While there are some,
// it has the pins checked again.
func (x *Attacher) waitingCalls() []*call {
	x.mu.Lock()
	defer x.mu.Unlock()
	calls := make([]*call, 0, x.calls.Len())
	for e := x.calls.Front(); e != nil; e = e.Next() {
		calls = append(calls, e.Value.(*call))
	}
	if len(calls) > 0 {
		x.check.Reset(checkPinsEvery)
	}
	return calls
}
