package broker_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/broker/brokertest"
	"github.com/ikornaselur/notiflux/internal/broker/memory"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// slow is a broker that finishes attachments when the test says so.
type slow struct {
	broker.Broker
	topics *topic.Topics
	held   []*broker.Attachment
	late   bool       // attachments hold no pin until a test calls hold
	pin    *topic.Pin // the last one that was held
}

func newSlow() *slow {
	b, topics := memory.New(memory.Config{Epoch: "E"}, topic.Config{PerTopic: topic.Limits{Count: 1}})
	return &slow{Broker: b, topics: topics}
}

func (s *slow) Attach(a *broker.Attachment) bool {
	if !s.late {
		s.hold(a)
	}
	s.held = append(s.held, a)
	return false
}

func (s *slow) hold(a *broker.Attachment) {
	if pin, err := s.topics.Open(a.Topic, pubsub.Position{}, a.From); err == nil {
		s.pin = a.Hold(pin)
	}
}

func (s *slow) finish(n int, err error) {
	for _, a := range s.held[:n] {
		a.Finish(err)
	}
	s.held = s.held[n:]
}

// publish publishes n messages of a size in the topic 0, and returns the position of the
// last.
func (s *slow) publish(n, size int) (last pubsub.Position) {
	for range n {
		ps := []pubsub.Publication{{Topic: "0", Body: pubsub.Body{Data: make([]byte, size)}}}
		s.Publish(ps, nil)
		last = ps[0].Position
	}
	return last
}

func attachments(n int) []broker.Attachment {
	as := make([]broker.Attachment, n)
	for i := range as {
		as[i].Topic = pubsub.Topic(fmt.Sprint(i))
	}
	return as
}

// wantNothing fails the test if a topic or an attachment is left.
func wantNothing(t *testing.T, s *slow, x *broker.Attacher) {
	t.Helper()
	if topics, waiting := s.topics.Stats().Topics, x.Waiting(); topics != 0 || waiting != 0 {
		t.Errorf("%d topics and %d attachments are left", topics, waiting)
	}
}

func code(err error) pubsub.Code { return pubsub.Refusal(err).Code }

func TestWaitIsOverWhenAllAreFinished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlow()
		x := broker.NewAttacher(s, broker.AttacherConfig{})
		as := attachments(3)
		if x.Attach(as) {
			t.Fatal("finished at once")
		}
		s.finish(1, nil) // before Wait is called
		calls := 0
		cancel := x.Wait(as, func() { calls++ })
		s.finish(1, errors.New("of one topic"))
		synctest.Wait()
		if calls != 0 {
			t.Fatal("done before all are finished")
		}
		s.finish(1, nil)
		synctest.Wait()
		if calls != 1 {
			t.Fatalf("done was called %d times", calls)
		}
		for i := range as {
			pin, err := as[i].Take()
			if (err != nil) != (i == 1) {
				t.Errorf("topic %d: %v", i, err)
			}
			pin.Release()
		}
		cancel()
		time.Sleep(2 * broker.Timeout)
		if calls != 1 {
			t.Errorf("done was called %d times", calls)
		}
		wantNothing(t, s, x)
	})
}

func TestWaitForFinishedAttachments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlow()
		x := broker.NewAttacher(s, broker.AttacherConfig{})
		as := attachments(1)
		x.Attach(as)
		s.finish(1, nil)
		done := make(chan struct{})
		x.Wait(as, func() { close(done) })
		<-done
		as[0].Cancel()
		wantNothing(t, s, x)
	})
}

// If the broker does not answer in time, only the topics that it has not attached fail.
func TestAttachmentsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlow()
		x := broker.NewAttacher(s, broker.AttacherConfig{})
		as := attachments(2)
		began := time.Now()
		x.Attach(as)
		s.finish(1, nil)
		late := s.held[0]
		done := make(chan struct{})
		x.Wait(as, func() { close(done) })
		<-done
		if took := time.Since(began); took != broker.Timeout {
			t.Errorf("waited %v", took)
		}
		if pin, err := as[0].Take(); err != nil {
			t.Errorf("the first: %v", err)
		} else {
			pin.Release()
		}
		if _, err := as[1].Take(); code(err) != pubsub.Unavailable {
			t.Errorf("the second: %v, want %s", err, pubsub.Unavailable)
		}
		if !late.Cancelled() || x.Waiting() != 1 {
			t.Errorf("cancelled %v, %d wait; the broker still has one", late.Cancelled(), x.Waiting())
		}
		s.finish(1, nil)
		wantNothing(t, s, x)
	})
}

// Whenever a call is cancelled, no pin is left and done is not called.
func TestCancel(t *testing.T) {
	for finished := range 4 {
		for after := range 4 - finished {
			synctest.Test(t, func(t *testing.T) {
				s := newSlow()
				x := broker.NewAttacher(s, broker.AttacherConfig{})
				as := attachments(3)
				x.Attach(as)
				cancel := x.Wait(as, func() {
					if finished < 3 {
						t.Error("done was called")
					}
				})
				s.finish(finished, nil)
				cancel()
				cancel()
				s.finish(after, nil)
				s.finish(len(s.held), errors.New("stopped"))
				synctest.Wait()
				wantNothing(t, s, x)
			})
		}
	}
}

// A call that is over is not kept in memory while others wait.
func TestCallsThatAreOverAreFreed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlow()
		x := broker.NewAttacher(s, broker.AttacherConfig{})
		var gone []weak.Pointer[[1024]byte]
		wait := func() (cancel func()) {
			as, large := attachments(1), new([1024]byte)
			x.Attach(as)
			gone = append(gone, weak.Make(large))
			return x.Wait(as, func() { large[0]++ })
		}
		wait() // expires
		second, third := wait(), wait()
		second()
		third()
		time.Sleep(broker.Timeout - time.Second)
		last := wait()
		time.Sleep(2 * time.Second) // The timers of the first three are over.
		s.finish(3, nil)
		second, third = nil, nil
		runtime.GC()
		for i := range 3 {
			if gone[i].Value() != nil {
				t.Errorf("call %d is over, and kept in memory", i)
			}
		}
		last()
		s.finish(1, nil)
		wantNothing(t, s, x)
	})
}

func TestAttachAllEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlow()
		x := broker.NewAttacher(s, broker.AttacherConfig{})
		ctx, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		if err := brokertest.AttachAll(ctx, x, attachments(2)); err != context.DeadlineExceeded {
			t.Errorf("AttachAll = %v", err)
		}
		s.finish(2, nil)
		wantNothing(t, s, x)
	})
}

// Attachments beyond the limit are refused until the broker has finished some.
func TestAttachmentsThatWaitAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlow()
		x := broker.NewAttacher(s, broker.AttacherConfig{MaxWaiting: 3})
		as := attachments(5)
		x.Attach(as)
		for i := range as[3:] {
			if _, err := as[3+i].Take(); code(err) != pubsub.OverCapacity {
				t.Errorf("topic %d: %v, want %s", 3+i, err, pubsub.OverCapacity)
			}
		}
		x.Wait(as, func() {})() // The broker still has the cancelled ones.
		one := attachments(1)
		if x.Attach(one); x.Waiting() != 3 {
			t.Errorf("%d wait, want 3", x.Waiting())
		}
		if _, err := one[0].Take(); code(err) != pubsub.OverCapacity {
			t.Errorf("while the broker has three: %v, want %s", err, pubsub.OverCapacity)
		}
		s.finish(3, nil)
		wantNothing(t, s, x)
		again := attachments(1)
		x.Attach(again)
		s.finish(1, nil)
		if pin, err := again[0].Take(); err != nil {
			t.Errorf("then: %v", err)
		} else {
			pin.Release()
		}
		wantNothing(t, s, x)
	})
}

// While the broker is slow, pins keep messages that the log has dropped, up to a limit. The
// pins of the oldest command stay.
func TestPinnedBytesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 1000
		s := newSlow()
		x := broker.NewAttacher(s, broker.AttacherConfig{MaxPinnedBytes: 12 * (size + topic.Overhead)})
		since := s.publish(1, size)
		first, second := attachments(1), attachments(1)
		first[0].From.Since, second[0].From.Since = since, since
		x.Attach(first)
		x.Attach(second)
		x.Wait(first, func() {})
		cancel := x.Wait(second, func() {})
		s.publish(11, size) // The log holds one, so each pin keeps ten.
		time.Sleep(checkEvery)
		s.finish(1, nil)
		pin, _ := first[0].Take()
		if !pin.Covered() || pin.Lag() == 0 {
			t.Error("the first pin is abandoned")
		}
		s.finish(1, nil)
		other, _ := second[0].Take()
		if other.Covered() || other.Lag() != 0 {
			t.Errorf("the second pin keeps %d bytes", other.Lag())
		}
		if _, r := other.Join(deaf{}); r.Recovered || r.Replay != 0 {
			t.Errorf("its subscriber resumes with %+v", r)
		}
		if _, r := pin.Take(); !r.Recovered || r.Replay != 11 {
			t.Errorf("the first subscriber resumes with %+v, want 11 messages", r)
		}
		cancel()
	})
}

// Once its caller has left, a pin keeps nothing, whether the attachment already holds it or
// gets it later.
func TestPinsOfCallersThatHaveGone(t *testing.T) {
	for _, late := range []bool{false, true} {
		for _, name := range []string{"cancel", "timeout"} {
			synctest.Test(t, func(t *testing.T) {
				s := newSlow()
				s.late = late
				x := broker.NewAttacher(s, broker.AttacherConfig{})
				as := attachments(1)
				as[0].From.Since = s.publish(1, 1000)
				x.Attach(as)
				cancel := x.Wait(as, func() {})
				if name == "cancel" {
					cancel()
				}
				time.Sleep(2 * broker.Timeout)
				if late {
					s.hold(&as[0])
				}
				s.publish(100, 1000)
				if lag := s.pin.Lag(); lag != 0 {
					t.Errorf("%s, held late %v: the pin keeps %d bytes", name, late, lag)
				}
				s.finish(1, nil)
			})
		}
	}
}

const checkEvery = time.Second + time.Millisecond

type deaf struct{}

func (deaf) Wake() {}

// The memory broker finishes at once, without a goroutine, and allocates nothing except the
// topic.
func TestMemoryAttachesAtOnce(t *testing.T) {
	b, topics := memory.New(memory.Config{}, topic.Config{})
	x := broker.NewAttacher(b, broker.AttacherConfig{})
	as := attachments(100)
	for i := range as { // The topics stay.
		pin, err := topics.Open(as[i].Topic, pubsub.Position{}, topic.ResumePoint{})
		if err != nil {
			t.Fatal(err)
		}
		pin.Join(deaf{})
	}
	if got := testing.AllocsPerRun(100, func() {
		for i := range as {
			as[i] = broker.Attachment{Topic: as[i].Topic}
		}
		if !x.Attach(as) {
			t.Fatal("not finished")
		}
		for i := range as {
			pin, err := as[i].Take()
			if err != nil {
				t.Fatal(err)
			}
			pin.Take()
		}
	}); got > 0 {
		t.Errorf("%v allocations to attach 100 topics, want 0", got)
	}
}

// A broker that finishes on another goroutine while Attach runs is counted once.
func TestFinishedBeforeAttachReturns(t *testing.T) {
	s := newSlow()
	x := broker.NewAttacher(finishing{s}, broker.AttacherConfig{})
	for range 1000 {
		if err := brokertest.AttachAll(t.Context(), x, attachments(10)); err != nil {
			t.Fatal(err)
		}
	}
	if x.Waiting() != 0 {
		t.Errorf("%d attachments are left", x.Waiting())
	}
}

// finishing is a broker that finishes on another goroutine.
type finishing struct{ *slow }

func (f finishing) Attach(a *broker.Attachment) bool {
	go func() {
		pin, err := f.topics.Open(a.Topic, pubsub.Position{}, a.From)
		if err == nil {
			a.Hold(pin)
		}
		a.Finish(err)
	}()
	return false
}
