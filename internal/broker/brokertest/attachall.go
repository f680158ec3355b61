package brokertest

import (
	"context"

	"github.com/ikornaselur/notiflux/internal/broker"
)

// AttachAll attaches all of as and waits until they can be taken. If ctx ends first,
// AttachAll returns its error and leaves no pin.
func AttachAll(ctx context.Context, x *broker.Attacher, as []broker.Attachment) error {
	if x.Attach(as) {
		return nil
	}
	done := make(chan struct{})
	cancel := x.Wait(as, func() { close(done) })
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		cancel()
		return ctx.Err()
	}
}
