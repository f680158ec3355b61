package delivery

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ikornaselur/notiflux"
)

// A Recorder keeps a [Log] while publishers and clients are at work. Its zero
// value is ready. It is safe for concurrent use.
type Recorder struct {
	now atomic.Int64

	mu        sync.Mutex
	publishes []*Publish
	clients   []*Recording
}

// Now returns a time that is later than every one before it.
func (r *Recorder) Now() Time { return Time(r.now.Add(1)) }

// Publishing notes that a message is about to be sent. The returned function
// notes its outcome, with its position if that is [Acknowledged]; without a call
// the outcome stays unknown.
func (r *Recorder) Publishing(topic notiflux.Topic, data string) (answered func(Outcome, notiflux.Position)) {
	p := &Publish{Topic: topic, Data: data, Called: r.Now()}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.publishes = append(r.publishes, p)
	return func(o Outcome, position notiflux.Position) {
		at := r.Now()
		r.mu.Lock()
		defer r.mu.Unlock()
		p.Outcome, p.Position, p.Answered = o, position, at
	}
}

// Client returns where a client of that name notes what it receives.
func (r *Recorder) Client(name string) *Recording {
	c := &Recording{recorder: r, client: Client{Name: name}}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clients = append(r.clients, c)
	return c
}

// Log returns what was noted. The clients must have ended.
func (r *Recorder) Log(held int) Log {
	r.mu.Lock()
	defer r.mu.Unlock()
	log := Log{Held: held}
	for _, p := range r.publishes {
		log.Publishes = append(log.Publishes, *p)
	}
	for _, c := range r.clients {
		log.Clients = append(log.Clients, Client{c.client.Name, slices.Clone(c.client.Events)})
	}
	return log
}

// A Recording is what one client receives. It belongs to one goroutine.
type Recording struct {
	recorder *Recorder
	client   Client
}

// Ask returns the question that a client is about to send, with its time.
func (c *Recording) Ask(since notiflux.Position, last int) Ask {
	return Ask{Time: c.recorder.Now(), Since: since, Last: last}
}

// Add notes an event. It sets its time.
func (c *Recording) Add(e Event) {
	e.Time = c.recorder.Now()
	c.client.Events = append(c.client.Events, e)
}
