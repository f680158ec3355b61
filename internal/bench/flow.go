package bench

import (
	"sync"
	"time"
)

// A phase says what is published until it ends.
type phase struct {
	messages int     // how many; 0: any number
	window   int     // how many may be under way to their subscribers; 0: any number
	rate     float64 // how many a second; 0: as the window allows
}

// A flow lets publishers send when the phase allows it, and counts the deliveries in flight:
// over all open connections, the messages of their topic minus those that they settled. A
// message is settled for a connection when it arrived, or when a later one of its publisher
// did.
type flow struct {
	now func() time.Duration // since the run began

	mu   sync.Mutex
	room sync.Cond // there may be room for a message, or the phase is over
	// Guarded by mu.
	phase
	began    time.Duration // when the phase did
	ended    chan struct{} // closed when it is over; nil before the first one
	over     bool
	taken    int // messages of the phase that a publisher took on
	waiting  int // publishers that wait for room
	turn     int // topic of the next message
	topics   []account
	open     int // connections
	underWay int // deliveries
	progress time.Duration
	totals
}

// totals are the counts of a phase.
type totals struct {
	published uint64 // messages, without those refused
	refused   uint64 // messages
	unknown   uint64 // messages that are among the published ones, but nobody knows
	expected  uint64 // deliveries
}

// An account holds the counts of a topic.
type account struct {
	subscribers int
	messages    int // that every subscriber should have settled at the end
}

// A ticket is a message to be published.
type ticket struct {
	topic       int
	sent        time.Duration // what its latency counts from
	subscribers int
}

func newFlow(topics int, now func() time.Duration) *flow {
	f := &flow{now: now, topics: make([]account, topics), over: true}
	f.room.L = &f.mu
	return f
}

// join adds a connection. leave removes a connection that had settled a number of messages
// of its topic.
func (f *flow) join(topic int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open++
	f.topics[topic].subscribers++
}

func (f *flow) leave(topic, settled int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open--
	f.topics[topic].subscribers--
	f.settleLocked(f.topics[topic].messages - settled)
}

// begin starts a phase, with new totals.
func (f *flow) begin(p phase) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.phase, f.totals = p, totals{}
	f.taken, f.over, f.ended = 0, false, make(chan struct{})
	f.began = f.now()
	f.progress = f.began
}

// end ends the phase: publishers stop.
func (f *flow) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.over {
		f.over = true
		close(f.ended)
		f.room.Broadcast()
	}
}

// next waits until a message may be published, which is then in flight. It returns false when
// the phase ends.
func (f *flow) next() (ticket, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over || f.messages > 0 && f.taken == f.messages {
		return ticket{}, false
	}
	f.taken++
	var sent time.Duration
	if f.rate > 0 {
		sent = f.sleepLocked(f.began + time.Duration(float64(f.taken-1)/f.rate*float64(time.Second)))
	} else {
		for !f.over && f.fullLocked() {
			f.waiting++
			f.room.Wait()
			f.waiting--
		}
		sent = f.now()
	}
	if f.over {
		return ticket{}, false
	}
	topic := f.turn
	f.turn = (f.turn + 1) % len(f.topics)
	a := &f.topics[topic]
	a.messages++
	f.underWay += a.subscribers
	f.expected += uint64(a.subscribers)
	f.published++
	f.progress = sent
	return ticket{topic, sent, a.subscribers}, true
}

// sleepLocked waits until a message is due, and returns the time from which its latency
// counts. If all publishers were busy when it was due, the wait is part of its latency. If
// this publisher only slept too long, it is not.
func (f *flow) sleepLocked(due time.Duration) time.Duration {
	wait := due - f.now()
	if wait <= 0 {
		return due
	}
	ended := f.ended
	f.mu.Unlock()
	timer := time.NewTimer(wait)
	select {
	case <-timer.C:
	case <-ended:
		timer.Stop()
	}
	f.mu.Lock()
	return f.now()
}

// fullLocked reports whether the window has no room for the deliveries of one more message,
// estimated as the average number of subscribers of a topic.
func (f *flow) fullLocked() bool {
	return f.window > 0 && f.underWay > (f.window-1)*max(1, f.open/len(f.topics))
}

// refuse takes back a message that the server refused.
func (f *flow) refuse(t ticket) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := &f.topics[t.topic]
	a.messages--
	f.published--
	f.refused++
	f.expected -= uint64(t.subscribers)
	f.settleLocked(a.subscribers)
}

// doubt counts a message whose outcome is unknown.
func (f *flow) doubt() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unknown++
}

// settle removes n deliveries from those in flight.
func (f *flow) settle(n int) {
	if n == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.progress = f.now()
	f.settleLocked(n)
}

func (f *flow) settleLocked(n int) {
	f.underWay -= n
	if f.waiting > 0 && !f.fullLocked() {
		f.room.Broadcast()
	}
}

// state returns how many connections are open, how many deliveries are in flight, and for how
// long nothing was published or settled.
func (f *flow) state() (open, underWay int, quiet time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.open, f.underWay, f.now() - f.progress
}

// sums returns the totals of the phase, its start, and the time of its last event.
func (f *flow) sums() (sums totals, began, last time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.totals, f.began, f.progress
}
