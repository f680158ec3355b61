package listen

import (
	"context"
	"time"
)

// settleTime is how long a shutdown waits for the next request on a connection that is new
// or that had a request within that time. A publisher that sends less often may find its
// connection closed between two requests.
const settleTime = time.Second

// Drain accepts the connections in the listener's queue, so that none of their clients is
// refused, and closes the listener. It then waits until the requests on new and busy
// connections have arrived and been answered. Both steps take at most a second each, and
// end with ctx. If Config.Passed is set, Drain closes the listener at once, because another
// process serves its queue.
func (l *Limiter) Drain(ctx context.Context) {
	recent := int64(time.Since(l.start) - settleTime)
	l.mu.Lock()
	l.draining.Store(true)
	for c := range l.conns {
		if at := c.idle.Load(); at == 0 || at > recent {
			c.fresh = true
			l.fresh++
		}
	}
	l.changed.Broadcast()
	l.mu.Unlock()

	emptying, stop := context.WithTimeout(ctx, settleTime)
	defer stop()
	if !l.config.Passed {
		_ = l.SetDeadline(time.Unix(1, 0)) // wakes Accept; fails only if the listener is closed
		select {
		case <-l.closed:
		case <-emptying.Done():
		}
	}
	l.Close()
	settling, stop := context.WithTimeout(ctx, settleTime)
	defer stop()
	defer context.AfterFunc(settling, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.changed.Broadcast()
	})()
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.fresh > 0 && settling.Err() == nil {
		l.changed.Wait()
	}
}

// isQueued reports whether connections are waiting in the listener's queue. If so, it also
// sets a deadline for the next Accept.
func (l *Limiter) isQueued() bool {
	if l.config.Passed || !queued(l.Listener) {
		return false
	}
	return l.SetDeadline(time.Now().Add(settleTime)) == nil
}
