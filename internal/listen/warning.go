package listen

import (
	"sync/atomic"
	"time"
)

// warningEvery is the minimum time between two logs of a warning.
const warningEvery = time.Minute

// A warning limits how often its cause is logged. It is safe for concurrent use.
type warning struct {
	last atomic.Int64 // when it was last logged, in Unix seconds; 0: never
}

// due reports whether to log the warning now.
func (w *warning) due() bool {
	now, last := time.Now().Unix(), w.last.Load()
	if last != 0 && now-last < int64(warningEvery/time.Second) {
		return false
	}
	return w.last.CompareAndSwap(last, now)
}
