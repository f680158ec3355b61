package loop

import (
	"net"
	"time"
)

// poller is how a loop waits, and where its sockets are.
type poller interface {
	// wait returns when there is something to do: wake was called, a socket has
	// news, or the time until the deadline has passed. A negative one means none.
	wait(timeout time.Duration)

	// wake ends wait, or the next one. Safe for concurrent use.
	wake()

	// take handles what the sockets have brought.
	take()

	// adopt makes nc the socket of c, if this poller can; else it returns nil
	// and leaves nc as it was.
	adopt(c *Conn, nc net.Conn) socket

	// close frees what the poller holds, once all its sockets are dropped.
	close()
}

// signals is the poller of loops that have portable sockets only: there is
// nothing to poll, and every piece of news is posted.
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
