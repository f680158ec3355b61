package delivery

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sort"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// numbering identifies a sequence of offsets: a topic in an epoch.
type numbering struct {
	topic pubsub.Topic
	epoch string
}

// placed is a publish at its offset.
type placed struct {
	offset uint64
	*Publish
}

// order is the messages of a topic in an epoch, as publishers and clients
// together know it.
type order struct {
	messages []placed // by offset

	// called and answered are the messages by these times, each with the
	// highest index in messages up to there. answered has the acknowledged ones.
	called, answered []mark
}

type mark struct {
	time Time
	most int // index + 1
}

// orders builds the order of every topic and epoch, and reports contradictions.
type orders struct {
	faults *faults
	of     map[numbering]*order
	at     map[numbering]map[uint64]*Publish
	byData map[pubsub.Topic]map[string]*Publish // one for each message, however often it was published
	keys   map[keyed]*Publish
	seen   map[*Publish]pubsub.Position // messages without an answer that a client received

	carried bool
	began   map[string]Time // when the first message of an epoch was sent, as far as publishers know
}

func newOrders(log *Log, f *faults) *orders {
	o := &orders{
		faults: f,
		of:     make(map[numbering]*order),
		at:     make(map[numbering]map[uint64]*Publish),
		byData: make(map[pubsub.Topic]map[string]*Publish),
		keys:   make(map[keyed]*Publish),
		seen:   make(map[*Publish]pubsub.Position),

		carried: log.Carried,
		began:   make(map[string]Time),
	}
	for _, p := range log.Publishes { // A copy: what was published again is added to it.
		o.published(&p)
	}
	for _, c := range log.Clients {
		for i, e := range c.Events {
			if e.Kind == Message {
				o.received(c.Name, i, e)
			}
		}
	}
	for n, at := range o.at {
		o.of[n] = sorted(at)
		o.of[n].checkPublishers(n, f)
	}
	return o
}

// published adds a publish as its publisher saw it.
func (o *orders) published(p *Publish) {
	if o.byData[p.Topic] == nil {
		o.byData[p.Topic] = make(map[string]*Publish)
	}
	if p.Key != "" {
		if p = o.keyed(p); p == nil {
			return
		}
	} else if o.byData[p.Topic][p.Data] != nil {
		o.faults.add("the log is of no use: %q was published to %q twice", p.Data, p.Topic)
	}
	o.byData[p.Topic][p.Data] = p
	if p.Outcome != Acknowledged {
		return
	}
	if first, ok := o.began[p.Position.Epoch]; !ok || p.Called < first {
		o.began[p.Position.Epoch] = p.Called
	}
	if other := o.place(p, p.Position); other != nil && other != p {
		o.faults.add("%q: %v was given twice, to %q and to %q", p.Topic, p.Position, other.Data, p.Data)
	}
}

// place puts p at a position. It returns the publish that is already there, if any.
func (o *orders) place(p *Publish, at pubsub.Position) (other *Publish) {
	n := numbering{p.Topic, at.Epoch}
	if o.at[n] == nil {
		o.at[n] = make(map[uint64]*Publish)
	}
	if other = o.at[n][at.Offset]; other == nil {
		o.at[n][at.Offset] = p
	}
	return other
}

// received compares a message that a client received with those published.
func (o *orders) received(client string, i int, e Event) {
	fault := func(format string, args ...any) { o.faults.event(client, i, e, format, args...) }
	p := o.byData[e.Topic][e.Data]
	switch {
	case p == nil:
		fault("nobody published %q", e.Data)
	case p.Outcome == Refused:
		fault("%q was refused", e.Data)
	case p.Called > e.Time:
		fault("%q was published later", e.Data)
	case p.Outcome == Acknowledged && p.Position != e.Position && !o.carries(p.Position, e.Position):
		fault("%q was acknowledged at %v", e.Data, p.Position)
	case p.Position != e.Position:
		if was, ok := o.seen[p]; ok && was != e.Position && !o.carries(was, e.Position) && !o.carries(e.Position, was) {
			fault("%q is at %v too", e.Data, was)
			return
		}
		if p.Outcome == Unknown {
			o.seen[p] = e.Position
		}
		if other := o.place(p, e.Position); other != nil && other != p {
			fault("%q has that position", other.Data)
		}
	}
}

// carries reports whether a message at a position is at another one in a later epoch.
func (o *orders) carries(from, to pubsub.Position) bool {
	old, began := o.began[from.Epoch], o.began[to.Epoch]
	return o.carried && from.Offset == to.Offset && (began == 0 || old < began)
}

func sorted(at map[uint64]*Publish) *order {
	o := new(order)
	for _, offset := range slices.Sorted(maps.Keys(at)) {
		o.messages = append(o.messages, placed{offset, at[offset]})
	}
	for i, p := range o.messages {
		o.called = append(o.called, mark{p.Called, i + 1})
		if p.Outcome == Acknowledged {
			o.answered = append(o.answered, mark{p.Answered, i + 1})
		}
	}
	for _, marks := range [][]mark{o.called, o.answered} {
		slices.SortFunc(marks, func(a, b mark) int { return cmp.Compare(a.time, b.time) })
		for i := 1; i < len(marks); i++ {
			marks[i].most = max(marks[i].most, marks[i-1].most)
		}
	}
	return o
}

// checkPublishers reports messages placed before messages that were acknowledged before they
// were sent.
func (o *order) checkPublishers(n numbering, f *faults) {
	for i, p := range o.messages {
		if before := upTo(o.answered, p.Called); before > i+1 {
			f.add("%q: %q stands at %s:%d, and %q before it at %d, though it was sent after the answer",
				n.topic, o.messages[before-1].Data, n.epoch, o.messages[before-1].offset, p.Data, p.offset)
		}
	}
}

// upTo returns how many messages there were at least, by marks, before a time.
func upTo(marks []mark, t Time) int {
	i := sort.Search(len(marks), func(i int) bool { return marks[i].time >= t })
	if i == 0 {
		return 0
	}
	return marks[i-1].most
}

// head returns how many messages there can have been when a request of one time was answered
// at another: at least and at most.
func (o *order) head(asked, answered Time) (least, most int) {
	return upTo(o.answered, asked), upTo(o.called, answered)
}

// rank returns how many messages stand up to an offset.
func (o *order) rank(offset uint64) int {
	return sort.Search(len(o.messages), func(i int) bool { return o.messages[i].offset > offset })
}

// name returns the position of the n-th message, for people.
func (o *order) name(n int) string {
	if n == 0 {
		return "none"
	}
	return fmt.Sprint(o.messages[n-1].offset)
}
