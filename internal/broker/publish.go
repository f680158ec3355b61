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

// Publish calls b.Publish on behalf of an event loop, which must survive a panic of the
// broker. If b.Publish panics, Publish logs the panic and sets an error on each publication
// that has no outcome yet.
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

// ErrKeyReused refuses a message whose idempotency key belongs to another one.
var ErrKeyReused = pubsub.Errorf(pubsub.KeyReused, "this key was used for a different message: use a new key for each message")

// errPanicked is an internal error of the server.
var errPanicked = errors.New("broker: publishing panicked")
