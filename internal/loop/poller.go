package loop

import (
	"net"
	"time"
)

// A poller waits for events of a loop and its sockets.
type poller interface {
	// wait returns when wake was called, a socket has an event, or timeout has passed. A
	// negative timeout means no timeout.
	wait(timeout time.Duration)

	// wake ends the current or the next wait. Safe for concurrent use.
	wake()

	// take handles the events of the sockets.
	take()

	// adopt makes nc the socket of c. If this poller cannot, adopt returns nil and does not
	// change nc.
	adopt(c *Conn, nc net.Conn) socket

	// close frees the resources of the poller. All its sockets were dropped before.
	close()
}

// signals is the poller of loops that have only portable sockets. These post their events,
// so there is nothing to poll.
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
