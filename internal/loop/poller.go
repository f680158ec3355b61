package loop

import (
	"net"
	"time"
)

// A poller waits for a loop, and has its sockets.
type poller interface {
	// wait returns when wake was called, a socket has an event, or timeout has passed. A
	// negative timeout means none.
	wait(timeout time.Duration)

	// wake ends wait, or the next one. Safe for concurrent use.
	wake()

	// take handles the events of the sockets.
	take()

	// adopt makes nc the socket of c. If this poller cannot, it returns nil and leaves nc
	// as it was.
	adopt(c *Conn, nc net.Conn) socket

	// close frees the resources of the poller. All its sockets are dropped before.
	close()
}

// signals is the poller of loops with portable sockets only. There is nothing to poll: the
// sockets post their events.
type signals chan struct{}

func newSignals() signals { return make(signals, 1) }

func (s signals) wait(timeout time.Duration) {
	if timeout < 0 {
		<-s
		return
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-s:
	case <-timer.C:
	}
}

func (s signals) wake() {
	select {
	case s <- struct{}{}:
	default:
	}
}

func (signals) take()                        {}
func (signals) adopt(*Conn, net.Conn) socket { return nil }
func (signals) close()                       {}
