package delivery

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// A Recorder keeps a [Log] while publishers and clients are at work. Its zero
// value is ready. It is safe for concurrent use.
type Recorder struct {
	Clock func() time.Time // nil: time.Now

	now atomic.Int64

	mu        sync.Mutex
	publishes []*Publish
	clients   []*Recording
	epochs    []Epoch
}

// Now returns a time that is later than every one before it.
func (r *Recorder) Now() Time { return Time(r.now.Add(1)) }

func (r *Recorder) clock() time.Time {
	if r.Clock == nil {
		return time.Now()
	}
	return r.Clock()
}

// Epoch notes that positions begin with name from now on.
func (r *Recorder) Epoch(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.epochs = append(r.epochs, Epoch{name, r.Now()})
}

// Publishing records that a message is about to be sent. The returned function records its
// outcome, and its position if that is [Acknowledged]. Without a call the outcome stays
// unknown.
func (r *Recorder) Publishing(topic pubsub.Topic, data string) (answered func(Outcome, pubsub.Position)) {
	return r.PublishingKey(topic, data, "")
}

// PublishingKey is Publishing with a key.
func (r *Recorder) PublishingKey(topic pubsub.Topic, data, key string) (answered func(Outcome, pubsub.Position)) {
	p := &Publish{Topic: topic, Data: data, Key: key, Called: r.Now(), At: r.clock()}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.publishes = append(r.publishes, p)
	return func(o Outcome, position pubsub.Position) {
		at := r.Now()
		r.mu.Lock()
		defer r.mu.Unlock()
		p.Outcome, p.Position, p.Answered = o, position, at
	}
}

// Client returns the Recording of a client with that name.
func (r *Recorder) Client(name string) *Recording { return r.Member(name, "") }

// Member is Client for a client with a sub.
func (r *Recorder) Member(name, sub string) *Recording {
	c := &Recording{recorder: r, client: Client{Name: name, Sub: sub}}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clients = append(r.clients, c)
	return c
}

// Log returns the log. The clients must have ended.
func (r *Recorder) Log(held int) Log {
	r.mu.Lock()
	defer r.mu.Unlock()
	log := Log{Held: held, Epochs: slices.Clone(r.epochs)}
	for _, p := range r.publishes {
		log.Publishes = append(log.Publishes, *p)
	}
	for _, c := range r.clients {
		log.Clients = append(log.Clients, Client{c.client.Name, c.client.Sub, slices.Clone(c.client.Events)})
	}
	return log
}

// A Recording is what one client receives. It belongs to one goroutine.
type Recording struct {
	recorder *Recorder
	client   Client
}

// Ask returns the request that a client is about to send, with its time.
func (c *Recording) Ask(since pubsub.Position, last int) Ask {
	return Ask{Time: c.recorder.Now(), Since: since, Last: last}
}

// Add records an event and sets its times.
func (c *Recording) Add(e Event) {
	e.Time, e.At = c.recorder.Now(), c.recorder.clock()
	c.client.Events = append(c.client.Events, e)
}
