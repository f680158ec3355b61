package redis_test

import (
	"errors"
	"testing"

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
