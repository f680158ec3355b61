package broker

import (
	"sync/atomic"
	"time"
)

// Stats counts the events of a broker that several servers share. Create it with [NewStats].
// Safe for concurrent use: each number is exact, but together they are not one snapshot.
type Stats struct {
	Publishing      atomic.Int64 // messages without an outcome, now
	PublishingBytes atomic.Int64 // of these messages

	Calls    *Histogram // durations of the calls that the store answered
	Messages *Histogram // numbers of messages in the calls that publish
	Lag      *Histogram // durations from the order of a message in the store until its log has it

	CatchUps atomic.Uint64 // reads of messages that a log missed
	Missing  atomic.Uint64 // gaps: the store did not have what a log missed
	Restarts atomic.Uint64 // gaps: a new epoch began
	Epochs   atomic.Uint64 // that replaced an earlier one

	Resubscribed atomic.Uint64 // connections for pub/sub that replaced a lost one
	Reconnected  atomic.Uint64 // connections for calls that replaced a lost one
	ProbesMissed atomic.Uint64
}

// NewStats returns a Stats with empty histograms.
func NewStats() *Stats {
	var times []int64
	for _, d := range []time.Duration{250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000} {
		times = append(times, int64(d*time.Microsecond))
	}
	return &Stats{
		Calls:    newHistogram(int64(time.Second), times...),
		Messages: newHistogram(1, 1, 2, 4, 8, 16, 32, 64),
		Lag:      newHistogram(int64(time.Second), times...),
	}
}

// A Histogram counts values in buckets. Safe for concurrent use.
type Histogram struct {
	unit   int64           // what Read reports as 1; immutable
	limits []int64         // highest value of each bucket, in increasing order; immutable
	counts []atomic.Uint64 // one per bucket, and one for the values above
	sum    atomic.Int64
}

func newHistogram(unit int64, limits ...int64) *Histogram {
	return &Histogram{unit: unit, limits: limits, counts: make([]atomic.Uint64, len(limits)+1)}
}

// Add counts a value. A negative value counts as 0. It takes no lock and does not allocate.
func (h *Histogram) Add(v int64) {
	v = max(0, v)
	i := 0
	for i < len(h.limits) && v > h.limits[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(v)
}

// Read returns the number of values and their sum, and for the limit of each bucket how many
// values are not above it. Durations are in seconds.
func (h *Histogram) Read() (count uint64, sum float64, upTo map[float64]uint64) {
	upTo = make(map[float64]uint64, len(h.limits))
	for i, limit := range h.limits {
		count += h.counts[i].Load()
		upTo[float64(limit)/float64(h.unit)] = count
	}
	return count + h.counts[len(h.limits)].Load(), float64(h.sum.Load()) / float64(h.unit), upTo
}
