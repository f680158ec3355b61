package broker

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// A Publisher is the part of a [Broker] that publishes.
type Publisher interface {
	Publish(ps []pubsub.Publication, done func()) (finished bool)
}

// Publish calls b.Publish for an event loop, which must not end by a panic of the broker:
// it logs the panic, and makes it the outcome of the publications that have none.
func Publish(b Publisher, log *slog.Logger, ps []pubsub.Publication, done func()) (finished bool) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		log.Error("publishing panicked", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
		for i := range ps {
			if ps[i].Err == nil && ps[i].Position.Epoch == "" {
				ps[i].Err = errPanicked
			}
		}
		finished = true
	}()
	return b.Publish(ps, done)
}

// errPanicked is a fault of the server.
var errPanicked = errors.New("broker: publishing panicked")
