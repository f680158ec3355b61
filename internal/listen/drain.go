package listen

import (
	"context"
	"time"
)

// settleTime is how long a shutdown waits for requests that are on their way: on a
// connection that is new, or that had a request within as short a time before. A
// publisher that sends less often than that finds its connection closed between
// two requests.
const settleTime = time.Second

// Drain takes the connections in the queue of the listener, so that no client in it
// is refused, and closes the listener. Then it waits until the requests on new and
// busy connections have come and are answered. Each of both takes a second at most,
// and ends with ctx. If Config.Passed is set, the listener closes at once: its queue
// is left to the other process.
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
		_ = l.SetDeadline(time.Unix(1, 0)) // Wakes Accept; fails only if the listener is closed.
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

// isQueued reports whether connections wait in the queue of the listener, and if so
// sets a deadline for Accept to take one.
func (l *Limiter) isQueued() bool {
	if l.config.Passed || !queued(l.Listener) {
		return false
	}
	return l.SetDeadline(time.Now().Add(settleTime)) == nil
}
