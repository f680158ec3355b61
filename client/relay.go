package client

import (
	"context"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

const (
	// maxStreamTopics is how many topics an event stream carries.
	maxStreamTopics = 64
	// maxStreamQuery bounds the address of an event stream: with a long token it
	// still fits into what servers and proxies take as headers.
	maxStreamQuery = 6 << 10
	// streamPing is how often a server sends a comment.
	streamPing = 15 * time.Second
)

// A relay is a session by event streams. It has as few of them as can be: when
// topics come or go, those streams that are concerned are replaced, and each topic
// goes on from its position.
//
// A topic that a cursor does not name begins anew. So whatever has a position is in
// the cursor that its stream is opened with: the cursor is made of the positions,
// not taken from the server's last event, which knows nothing of topics that were
// elsewhere then. Topics whose positions are of different epochs do not fit into one
// cursor, and are in different streams.
type relay struct {
	// Immutable.
	client  *Client
	session *session
	ended   chan *stream // each stream that was not stopped

	// Owned by serveStreams.
	streams  []*stream // the newest is the last
	running  sync.WaitGroup
	attempts int // how often topics were refused for now
}

// A stream is one event stream.
type stream struct {
	*session // what its topics were asked for in; its number is that of the relay's session

	// Immutable once it runs.
	subscriptions []*topicSubscription
	query         url.Values

	stopped chan struct{} // closed when it is to end, for another to take its place
	done    chan struct{} // closed when it has ended
	err     error         // why the session is to end; read when done is closed
}

// serveStreams is serve for a session by event streams. Each of them has a
// goroutine, which it waits for.
func (c *Client) serveStreams(ctx context.Context, s *session) error {
	c.begin(nil)
	ctx, cancel := context.WithCancel(ctx)
	r := &relay{client: c, session: s, ended: make(chan *stream)}
	defer c.begin(nil)
	defer r.running.Wait()
	defer cancel()
	var again <-chan time.Time
	for {
		r.arrange(ctx)
		if again == nil && c.anyDeferred() {
			again = time.After(c.delay(r.attempts))
			r.attempts++
		}
		select {
		case <-c.wake:
		case <-again:
			again = nil
			c.undefer()
		case st := <-r.ended:
			if !slices.Contains(r.streams, st) {
				continue // it was stopped meanwhile
			}
			if st.err != nil {
				return st.err
			}
			r.release([]*stream{st})
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// arrange sees that there is a stream for each topic that is to have one. If there
// is no token for it, the streams stay as they are.
func (r *relay) arrange(ctx context.Context) {
	concerned, asking := r.concerned()
	var token Token
	var generation uint64
	if asking {
		var err error
		if token, generation, err = r.client.tokens.get(ctx); err != nil {
			r.client.putOff(err)
			return
		}
	}
	for _, st := range concerned {
		close(st.stopped)
		st.cut(context.Canceled)
		<-st.done
	}
	r.release(concerned)
	c := r.client
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = nil
	if !asking {
		return
	}
	if _, _, holds := c.tokens.cached(); !holds {
		c.wakeRun() // a new token comes first
		return
	}
	var open []*topicSubscription
	for _, i := range c.sortedLocked() {
		if i.asked == nil && !i.deferred {
			open = append(open, i)
		}
	}
	for _, p := range pack(open) {
		r.start(ctx, p, token, generation)
	}
}

// concerned returns the streams that are to be replaced: those that have lost a
// topic, and one that has room for what is to be added. It reports whether there
// is a stream to be asked for.
func (r *relay) concerned() (all []*stream, asking bool) {
	c := r.client
	c.mu.Lock()
	defer c.mu.Unlock()
	var fresh []*topicSubscription
	for _, i := range c.subscriptions {
		if i.asked == nil && !i.deferred {
			fresh = append(fresh, i)
		}
	}
	for _, st := range r.streams {
		if slices.ContainsFunc(st.subscriptions, func(i *topicSubscription) bool { return c.subscriptions[i.topic] != i || i.asked != st.session }) {
			all = append(all, st)
			for _, i := range st.subscriptions {
				if c.subscriptions[i.topic] == i && i.asked == st.session {
					fresh = append(fresh, i)
				}
			}
		}
	}
	if len(fresh) == 0 || len(r.streams) == 0 {
		return all, len(fresh) > 0
	}
	last := r.streams[len(r.streams)-1]
	if !slices.Contains(all, last) && len(pack(append(fresh, last.subscriptions...))) <= len(pack(fresh)) {
		all = append(all, last)
	}
	return all, true
}

// release has the topics of streams that have ended asked for again.
func (r *relay) release(ended []*stream) {
	c := r.client
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, st := range ended {
		for _, i := range st.subscriptions {
			if i.asked == st.session {
				i.moved = i.moved || i.live
				i.asked, i.live = nil, false
			}
		}
		r.streams = slices.DeleteFunc(r.streams, func(other *stream) bool { return other == st })
	}
}

// start runs a stream for a part of the topics. The client's mu is held.
func (r *relay) start(ctx context.Context, p *streamPart, token Token, generation uint64) {
	s := &session{number: r.session.number, ping: streamPing}
	s.reading, s.cut = context.WithCancelCause(ctx)
	s.silence = time.AfterFunc(handshakeTimeout, func() { s.cut(errSilent) })
	st := &stream{session: s, subscriptions: p.subscriptions, query: p.query(), stopped: make(chan struct{}), done: make(chan struct{})}
	for _, i := range p.subscriptions {
		i.asked, i.live, i.generation = s, false, generation
	}
	r.streams = append(r.streams, st)
	r.running.Go(func() {
		st.err = r.run(st, token)
		s.silence.Stop()
		s.cut(nil)
		close(st.done)
		select {
		case r.ended <- st:
		case <-ctx.Done():
		case <-st.stopped:
		}
	})
}

// A streamPart is topics that one stream can carry.
type streamPart struct {
	subscriptions    []*topicSubscription
	latest, presence bool
	epoch            string // of all positions; empty: there is none
	last             int    // of all without a position; negative: there is none
	offsets          []cursorOffset
	queryBytes       int
}

// pack divides subscriptions among as few parts as comes easily.
func pack(all []*topicSubscription) (parts []*streamPart) {
	for _, i := range all {
		at := slices.IndexFunc(parts, func(p *streamPart) bool { return p.fits(i) })
		if at < 0 {
			at = len(parts)
			parts = append(parts, &streamPart{latest: i.latest, presence: i.presence, last: -1})
		}
		parts[at].add(i)
	}
	return parts
}

// fits reports whether i can go with the topics of p.
func (p *streamPart) fits(i *topicSubscription) bool {
	switch {
	case len(p.subscriptions) >= maxStreamTopics,
		p.latest != i.latest, p.presence != i.presence,
		p.queryBytes+queryBytes(i.topic) > maxStreamQuery:
		return false
	case i.position.Epoch == "":
		return p.last < 0 || p.last == i.last
	}
	return p.epoch == "" || p.epoch == i.position.Epoch
}

func (p *streamPart) add(i *topicSubscription) {
	p.subscriptions = append(p.subscriptions, i)
	p.queryBytes += queryBytes(i.topic)
	if i.position.Epoch == "" {
		p.last = i.last
		return
	}
	p.epoch = i.position.Epoch
	p.offsets = append(p.offsets, cursorOffset{i.topic, i.position.Offset})
}

func queryBytes(topic pubsub.Topic) int {
	return len("&topic=") + len(url.QueryEscape(string(topic)))
}

// query returns what a stream of p is asked for with.
func (p *streamPart) query() url.Values {
	q := url.Values{}
	for _, i := range p.subscriptions {
		q.Add("topic", string(i.topic))
	}
	if p.epoch != "" {
		q.Set("since", string(appendStreamCursor(nil, p.epoch, p.offsets)))
	}
	if p.last > 0 {
		q.Set("last", strconv.Itoa(p.last))
	}
	if p.latest {
		q.Set("mode", "latest")
	}
	return q
}
