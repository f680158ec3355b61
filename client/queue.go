package client

import (
	"container/list"
	"sync"
)

const (
	// defaultBuffer is above what a server replays of many topics at once: a connection
	// brings 1,000 messages in less time than a busy machine may take to run a loop.
	defaultBuffer = 10_000
	// maxBufferBytes bounds the data of these events. It is above the size of the
	// largest message, and above what a server replays of a few topics at once.
	maxBufferBytes = 16 << 20
	// memberBytes is the size of a Member without what it refers to.
	memberBytes = 40
)

// An entry is an event or an error that a loop is going to get.
type entry struct {
	event    Event
	err      error    // in place of event
	topic    string   // empty in Disconnected
	from, to Position // of the topic, before and after the event
	since    Position // with Latest, the position before the messages that this one replaced
	last     bool     // no entry follows
}

func (e *entry) size() int {
	var members []Member
	switch event := e.event.(type) {
	case Message:
		return len(event.Data)
	case Present:
		members = event.Members
	case Joined:
		members = event.Members
	case Left:
		members = event.Members
	}
	n := len(members) * memberBytes
	for _, m := range members {
		n += len(m.Sub) + len(m.Info)
	}
	return n
}

// A queue holds the entries of one subscription until its loop takes them. Adding an entry
// never blocks. When the queue is full, it folds all further entries into one loss for each
// topic, until the loop has taken half of the queue: a few large losses are easier to
// recover from than many small ones. A queue is safe for concurrent use.
type queue struct {
	// Immutable.
	limit  int           // entries
	latest bool          // holds only the newest message of a topic
	ready  chan struct{} // has room for one; filled when take may succeed

	// Guarded by mu.
	mu      sync.Mutex
	entries list.List // of *entry
	bytes   int
	newest  map[string]*list.Element // with latest, by topic: its last entry if that can be replaced
	folded  list.List                // of *fold, in the order of their last events
	folds   map[string]*list.Element // the elements of folded, by topic
	end     error                    // follows the last entry; nil: the queue is open
}

// A fold sums up the entries of one topic that did not fit.
type fold struct {
	topic        string
	disconnected *entry
	subscribed   *entry // nil if messages were lost after it
	lost         *LostError
	refused      *entry
	presence     bool // a presence event did not fit
}

func newQueue(limit int, latest bool) *queue {
	if limit == 0 {
		limit = defaultBuffer
	}
	return &queue{
		limit: limit, latest: latest, ready: make(chan struct{}, 1),
		newest: map[string]*list.Element{}, folds: map[string]*list.Element{},
	}
}

// put adds an entry. It reports whether more than half of the queue is full.
func (q *queue) put(e entry) (behind bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.end != nil {
		return false
	}
	q.replaceLocked(&e)
	if q.folded.Len() > 0 || q.entries.Len() >= q.limit || q.entries.Len() > 0 && q.bytes+e.size() > maxBufferBytes {
		q.foldLocked(&e)
	} else {
		q.pushLocked(&e)
	}
	q.signal()
	return !q.halfEmptyLocked()
}

func (q *queue) halfEmptyLocked() bool {
	return q.entries.Len() <= q.limit/2 && q.bytes <= maxBufferBytes/2
}

func (q *queue) signal() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// replaceLocked removes the entry that e replaces, if the queue holds one.
func (q *queue) replaceLocked(e *entry) {
	if !q.latest {
		return
	}
	skipped, isSkipped := e.event.(Skipped)
	if _, isMessage := e.event.(Message); !isMessage && !isSkipped {
		delete(q.newest, e.topic) // a message before e must stay before it
		return
	}
	element := q.newest[e.topic]
	if element == nil {
		return
	}
	old := q.removeLocked(element)
	if e.since = old.since; e.since == "" {
		e.since = old.from
	}
	if isSkipped {
		skipped.From, e.from, e.since = e.since, e.since, ""
		e.event = skipped
	}
}

func (q *queue) pushLocked(e *entry) {
	element := q.entries.PushBack(e)
	q.bytes += e.size()
	switch e.event.(type) {
	case Message, Skipped:
		if q.latest {
			q.newest[e.topic] = element
		}
	}
}

func (q *queue) removeLocked(element *list.Element) *entry {
	e := q.entries.Remove(element).(*entry)
	q.bytes -= e.size()
	if q.newest[e.topic] == element {
		delete(q.newest, e.topic)
	}
	return e
}

// foldLocked adds an entry that does not fit to the fold of its topic.
func (q *queue) foldLocked(e *entry) {
	element := q.folds[e.topic]
	if element == nil {
		element = q.folded.PushBack(&fold{topic: e.topic})
		q.folds[e.topic] = element
	}
	f := element.Value.(*fold)
	switch event := e.event.(type) {
	case PatternPosition:
		return // another one follows
	case Present, Joined, Left:
		f.presence = true
		return
	case Message, Skipped:
		from := e.from
		if e.since != "" {
			from = e.since
		}
		f.lose(&LostError{Topic: e.topic, Since: from, Position: e.to, Reason: Overflow})
		return
	case Disconnected:
		f.disconnected = e
	case Subscribed:
		f.refused = nil // the program has added the topic again
		if f.subscribed != nil && !f.subscribed.event.(Subscribed).Resumed {
			event.Resumed = false // the loop has not seen that it was subscribed before
			e.event = event
		}
		if f.subscribed = e; f.lost != nil {
			f.lose(&LostError{Position: e.to})
		}
	default:
		if lost, ok := e.err.(*LostError); ok {
			f.lose(lost)
		} else {
			f.refused = e
		}
	}
	q.folded.MoveToBack(element) // e came after the other folds
}

// lose adds a loss to the one that f has.
func (f *fold) lose(lost *LostError) {
	if f.lost == nil {
		first := *lost
		f.lost = &first
	}
	f.lost.Position, f.subscribed = lost.Position, nil
}

// unfoldLocked turns the folds into entries. It returns the topics that lost messages or
// presence events.
func (q *queue) unfoldLocked() (presence []string) {
	for element := q.folded.Front(); element != nil; element = element.Next() {
		f := element.Value.(*fold)
		entries := []*entry{f.disconnected, f.subscribed, nil, f.refused}
		if f.lost != nil {
			entries[2] = &entry{err: f.lost, topic: f.lost.Topic}
		}
		for _, e := range entries {
			if e != nil {
				q.pushLocked(e)
			}
		}
		if (f.presence || f.lost != nil) && f.refused == nil {
			presence = append(presence, f.topic)
		}
	}
	q.folded.Init()
	clear(q.folds)
	return presence
}

// take returns the next entry, and false if there is none yet. After the last entry it
// returns the error that ended the queue once, and ErrClosed from then on. The caller has
// to request the list of members of the topics in presence.
func (q *queue) take() (e entry, presence []string, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.halfEmptyLocked() && q.folded.Len() > 0 {
		presence = q.unfoldLocked()
	}
	front := q.entries.Front()
	switch {
	case front == nil && q.end == nil:
		return entry{}, presence, false
	case front == nil:
		e, q.end = entry{err: q.end, last: true}, ErrClosed
	case front.Value.(*entry).since != "":
		next := front.Value.(*entry)
		e = entry{event: Skipped{Topic: next.topic, From: next.since, To: next.from}}
		next.since = ""
	default:
		e = *q.removeLocked(front)
	}
	if q.entries.Len() > 0 || q.folded.Len() > 0 || q.end != nil {
		q.signal() // for another goroutine that waits
	}
	return e, presence, true
}

// finish ends the queue. The error follows the last entry.
func (q *queue) finish(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.end == nil {
		q.end = err
		q.signal()
	}
}

// close ends the queue with ErrClosed, and drops all entries.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.end = ErrClosed
	q.bytes = 0
	q.entries.Init()
	q.folded.Init()
	clear(q.newest)
	clear(q.folds)
	q.signal()
}
