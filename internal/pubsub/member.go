package pubsub

// A Member is who is present in a topic: one subject, however many connections it has.
type Member struct {
	Sub  string // of the token
	Info []byte // what the token shows of it: a compact JSON object that nobody changes; nil: nothing
}

// MaxEventMembers is how many members a [PresenceEvent] names that is a join or a leave.
const MaxEventMembers = 100

// A PresenceKind says what a [PresenceEvent] tells.
type PresenceKind uint8

// The kinds of presence events.
const (
	PresenceJoin  PresenceKind = iota // Members joined
	PresenceLeave                     // Members left
	PresenceList                      // Members are present, and nobody else
	PresenceCount                     // Count members are present: too many to name them
)

// A PresenceEvent tells the members of a topic how its members changed. It is immutable.
type PresenceEvent struct {
	Topic       Topic
	Kind        PresenceKind
	Members     []Member // not nil, but for PresenceCount
	Count       int      // of members; for PresenceList and PresenceCount
	Subscribers int      // all subscriptions of the topic, with presence or not; for the same
}

// Supersedes reports whether a client that gets e needs none of the events before it.
func (e *PresenceEvent) Supersedes() bool { return e.Kind == PresenceList || e.Kind == PresenceCount }

// memberBytes is the size of a Member without what it points to.
const memberBytes = 40

// Size returns about how many bytes of memory e takes.
func (e *PresenceEvent) Size() int {
	size := 64
	for _, m := range e.Members {
		size += memberBytes + len(m.Sub) + len(m.Info)
	}
	return size
}
