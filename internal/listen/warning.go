package listen

import (
	"sync/atomic"
	"time"
)

// warningEvery is how often a warning is logged at most.
const warningEvery = time.Minute

// A warning is logged now and then, however often its cause occurs. Safe for
// concurrent use.
type warning struct {
	last atomic.Int64 // when it was logged, in Unix seconds; 0: never
}

// due reports whether to log the warning now.
func (w *warning) due() bool {
	now, last := time.Now().Unix(), w.last.Load()
	if last != 0 && now-last < int64(warningEvery/time.Second) {
		return false
	}
	return w.last.CompareAndSwap(last, now)
}
