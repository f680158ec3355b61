package wire

import (
	"net/http"
	"sync/atomic"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// Outcomes counts requests by their outcome. It is safe for concurrent use.
type Outcomes struct {
	Accepted atomic.Uint64
	Refused  atomic.Uint64 // because of an error of the client
	Failed   atomic.Uint64 // for any other reason
}

// Count counts a request that ended with err, or succeeded if err is nil.
func (o *Outcomes) Count(err error) {
	switch {
	case err == nil:
		o.Accepted.Add(1)
	case ErrorResponseOf(pubsub.Refusal(err).Code).Status < http.StatusInternalServerError:
		o.Refused.Add(1)
	default:
		o.Failed.Add(1)
	}
}
