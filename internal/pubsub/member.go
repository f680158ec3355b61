package pubsub

// A Member is a subject that is present in a topic, however many connections it has.
type Member struct {
	Sub  string // the subject of the member's token
	Info []byte // the public information in the token, a compact JSON object; nil for none; immutable
}

// MaxEventMembers is the maximum number of members in a join or leave [PresenceEvent].
const MaxEventMembers = 100

// A PresenceKind is the kind of a [PresenceEvent].
type PresenceKind uint8

// The kinds of presence events.
const (
	PresenceJoin  PresenceKind = iota // Members joined
	PresenceLeave                     // Members left
	PresenceList                      // Members are all members
	PresenceCount                     // Count members are present, too many to name them
)

// A PresenceEvent reports a change in the members of a topic. It is immutable.
type PresenceEvent struct {
	Topic       Topic
	Kind        PresenceKind
	Members     []Member // nil only for PresenceCount
	Count       int      // number of members, for PresenceList and PresenceCount
	Subscribers int      // all subscriptions of the topic, with presence or not, for PresenceList and PresenceCount
}

// Supersedes reports whether e makes all earlier presence events of the topic unnecessary.
func (e *PresenceEvent) Supersedes() bool { return e.Kind == PresenceList || e.Kind == PresenceCount }

// memberBytes is the size of a Member without the data that it points to.
const memberBytes = 40

// Size returns the approximate number of bytes of memory that e takes.
func (e *PresenceEvent) Size() int {
	size := 64
	for _, m := range e.Members {
		size += memberBytes + len(m.Sub) + len(m.Info)
	}
	return size
}
