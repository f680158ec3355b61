package redis_test

import (
	"errors"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/broker/redis"
	"github.com/ikornaselur/notiflux/internal/broker/remote"
	"github.com/ikornaselur/notiflux/internal/internaltest/redistest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// Messages count as being published until they have an outcome.
func TestStatsOfMessagesWithoutOutcome(t *testing.T) {
	t.Parallel()
	proxy := redistest.NewProxy(t, redistest.Start(t).Addr)
	b := run(t, proxy.Addr)
	proxy.Hold()
	ps := []pubsub.Publication{
		{Topic: "t", Body: pubsub.Body{Data: []byte("x")}},
		{Topic: "t", Body: pubsub.Body{Data: []byte("x")}, Err: errors.New("refused before")},
	}
	done := make(chan struct{})
	if b.Publish(ps, func() { close(done) }) {
		t.Fatalf("published at once: %v", ps[0].Err)
	}
	s := b.Stats()
	if n, bytes := s.Publishing.Load(), s.PublishingBytes.Load(); n != 1 || bytes == 0 {
		t.Errorf("%d messages without an outcome, %d bytes, want 1 message", n, bytes)
	}
	proxy.Cut()
	<-done
	if ps[0].Err == nil || errors.Is(ps[0].Err, remote.ErrNotSent) {
		t.Errorf("the outcome is %v", ps[0].Err)
	}
	if n, bytes := s.Publishing.Load(), s.PublishingBytes.Load(); n != 0 || bytes != 0 {
		t.Errorf("%d messages and %d bytes without an outcome, want none", n, bytes)
	}
}

// A new epoch is one gap for each topic: the next messages of all topics are no further gaps.
func TestNewEpochIsOneGap(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	nodes := []*redis.Broker{run(t, s.Addr), run(t, s.Addr)}
	names := []pubsub.Topic{"t", "a", "b"}
	for _, b := range nodes {
		for _, name := range names {
			pin, err := broker.NewAttacher(b, broker.AttacherConfig{}).AttachOne(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(pin.Release)
		}
	}
	publish(nodes[0], "x", "")
	s.Client("FLUSHALL")
	for _, b := range nodes {
		for b.Stats().Restarts.Load() < uint64(len(names)) {
			<-time.After(time.Millisecond)
		}
	}
	// Several topics in turn, so that each offset is beyond the ones of the other topics.
	for i := range 5 {
		for _, name := range names {
			ps := []pubsub.Publication{{Topic: name, Body: pubsub.Body{Data: []byte("x")}}}
			done := make(chan struct{})
			if !nodes[i%2].Publish(ps, func() { close(done) }) {
				<-done
			}
			if ps[0].Err != nil {
				t.Fatal(ps[0].Err)
			}
		}
	}
	for _, b := range nodes {
		for delivered := uint64(0); delivered < uint64(5*len(names)); delivered, _, _ = b.Stats().Lag.Read() {
			<-time.After(time.Millisecond)
		}
		if n := b.Stats().Missing.Load(); n > 0 {
			t.Errorf("%d gaps because of missing messages, want none", n)
		}
		if n := b.Stats().Restarts.Load(); n != uint64(len(names)) {
			t.Errorf("%d gaps because of the epoch, want %d", n, len(names))
		}
	}
}
