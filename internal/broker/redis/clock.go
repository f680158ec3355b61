package redis

import (
	"sync/atomic"
	"time"
)

// offsetsBegin is the time of offset 0. Offsets count microseconds.
var offsetsBegin = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

func microseconds(t time.Time) int64 { return t.Sub(offsetsBegin).Microseconds() }

// A clock converts between the time of Redis and that of this machine.
type clock struct {
	ahead atomic.Int64 // how far the clock of Redis is ahead, in µs
	since atomic.Int64 // when ahead was measured, in ns since 1970
}

const (
	// quick is how long a call takes at most that sets the clock of a node.
	quick = 100 * time.Millisecond
	// maxClockAge is how old the clock becomes if no call is quick.
	maxClockAge = time.Minute
)

// set sets the clock from a call, which began and ended at local times. It was now in Redis
// in between.
func (c *clock) set(now int64, began, ended time.Time) {
	took := ended.Sub(began)
	if took > quick && ended.Sub(time.Unix(0, c.since.Load())) < maxClockAge {
		return
	}
	c.ahead.Store(now - microseconds(began.Add(took/2)))
	c.since.Store(ended.UnixNano())
}

// redisTime returns the time of Redis at a local time, in the unit of offsets.
func (c *clock) redisTime(t time.Time) int64 { return microseconds(t) + c.ahead.Load() }

// timeOf returns the local time of a time of Redis, with a monotonic clock reading.
func (c *clock) timeOf(redis int64) time.Time {
	now := time.Now()
	return now.Add(time.Duration(redis-c.redisTime(now)) * time.Microsecond)
}

// localTime returns the local time of an offset, with a monotonic clock reading. It is not in
// the future.
func (c *clock) localTime(offset uint64) time.Time {
	now := time.Now()
	return now.Add(-time.Duration(max(0, c.redisTime(now)-int64(offset))) * time.Microsecond)
}
