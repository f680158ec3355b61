package broker

import (
	"cmp"
	"container/list"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// AttacherConfig configures [NewAttacher]. The zero value works.
type AttacherConfig struct {
	MaxWaiting     int    // attachments that may wait for the broker at once; 0: 10,000
	MaxPinnedBytes uint64 // bytes that only the pins of waiting attachments may keep in memory, checked every second; 0: 64 MiB
}

const (
	defaultMaxWaiting     = 10_000
	defaultMaxPinnedBytes = 64 << 20

	// checkPinsEvery is the interval between checks of the pins.
	checkPinsEvery = time.Second
)

// An Attacher attaches topics for all sessions and requests of a node. The topics of one
// command are attached together. Safe for concurrent use.
type Attacher struct {
	// Immutable after NewAttacher.
	broker Broker
	config AttacherConfig

	waiting atomic.Int64 // attachments that wait for the broker

	mu sync.Mutex
	// Guarded by mu.
	calls list.List   // of *call: calls of Wait that are not over, in order
	check *time.Timer // of the pins; nil until it is first needed
}

// NewAttacher returns an Attacher that attaches through b.
func NewAttacher(b Broker, c AttacherConfig) *Attacher {
	c.MaxWaiting = cmp.Or(c.MaxWaiting, defaultMaxWaiting)
	c.MaxPinnedBytes = cmp.Or(c.MaxPinnedBytes, defaultMaxPinnedBytes)
	return &Attacher{broker: b, config: c}
}

// Waiting returns the number of attachments that wait for the broker.
func (x *Attacher) Waiting() int { return int(x.waiting.Load()) }

// Attach asks the broker to attach all of as, and reports whether they are finished. If
// not, the caller must call Wait next. Attach does not block, and allocates nothing beyond
// what the broker does. Each finished attachment has its own result; see [Attachment.Take].
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

var errTooManyWait = pubsub.Errorf(pubsub.OverCapacity, "too many subscriptions are waiting for the broker: try again later")

// Wait calls done once all of as can be taken, which is after [Timeout] at the latest. It
// calls done only once, on another goroutine. Attachments that the broker has not finished
// by then fail with Unavailable.
//
// The returned function cancels the wait. After that, no pin is left, and done is not
// called unless the call is already in progress.
func (x *Attacher) Wait(as []Attachment, done func()) (cancel func()) {
	c := &call{attacher: x, as: as, done: done}
	c.unsettled.Store(1) // for this loop
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

// AttachOne attaches one topic, without a resume point, and waits until it is attached or ctx ends. The
// caller owns the pin.
func (x *Attacher) AttachOne(ctx context.Context, name pubsub.Topic) (topic.Pin, error) {
	as := []Attachment{{Topic: name}}
	if !x.Attach(as) {
		done := make(chan struct{})
		cancel := x.Wait(as, func() { close(done) })
		select {
		case <-done:
		case <-ctx.Done():
			cancel()
			return topic.Pin{}, &pubsub.Error{Code: pubsub.Unavailable, Detail: "the request ended before the broker answered", Err: ctx.Err()}
		}
	}
	return as[0].Take()
}

// A call is one call of Wait.
type call struct {
	// Immutable after Wait.
	attacher *Attacher
	as       []Attachment
	done     func()

	// Guarded by Attacher.mu.
	timer   *time.Timer
	element *list.Element // of Attacher.calls

	unsettled atomic.Int64 // number of attachments that the broker has not finished
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

// end ends the call, and reports whether this was the first time.
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

// checkPins enforces AttacherConfig.MaxPinnedBytes. It abandons the pins that exceed the
// limit, those of the newest calls first.
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

// waitingCalls returns the calls that are not over, oldest first. If there are any, it
// schedules the next check of the pins.
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
