// Package delivery checks what clients received against what was published. It tests the
// promise of the server from the outside: no message is silently lost, repeated or out of
// order.
//
// A test makes a [Log], with a [Recorder] or by hand. A Log is the record of one run: what
// publishers sent, which answers they got, and what each client received, in order.
// Afterwards [Check] reads the log and returns every fault. For each topic and epoch there
// must be one list of messages, offset by offset, such that
//
//   - an offset has the same payload for every client, and is used once;
//   - an acknowledged message is at its position, a refused one nowhere, and one without an
//     answer at most once in the list;
//   - if one message was acknowledged before another was sent, it comes first;
//   - a subscription gets exactly the messages after its announced position, until a gap or a
//     skip is announced (the server skips messages for a client in the mode latest), or until
//     the subscription or its connection ends;
//   - if an answer says recovered, its position is the requested one, and the replay reaches the
//     head; if it says not recovered, its position is the head;
//   - a position that the history must still cover is recovered;
//   - nothing of a topic comes before the answer that begins the subscription, or after the
//     answer or notice that ends it;
//   - at rest, when all publishers have ended, a client has the last message of each of its
//     topics;
//   - a key belongs to one message at one position;
//   - a message reaches only clients that were allowed its topic when it was published;
//   - a client that resumes with a position of an earlier epoch learns of the new one;
//   - joins and leaves of a member alternate, a member that was away for less than the grace
//     period is not reported as gone, and at rest a client knows who is present;
//   - with overlapping subscriptions, a client gets each message once, the messages of a topic in
//     order, and everything up to the position of a pattern; the Topic of an event of a
//     subscription to a pattern is [pubsub.Pattern.Topic];
//   - the counters of the server match what publishers and clients saw.
//
// The head (the position of the last message) at the time of an answer is known only within
// limits: it is not before any message that was acknowledged before the client asked, and it
// is before every message that was published after the client had the answer.
// When no publisher is active, the limits coincide.
//
// The package does not know the server or a protocol. The test turns bytes into events.
package delivery

import (
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// Time orders all events of a log: an event with a lower time ended before one with a higher
// time began. The first time is 1.
type Time int64

// A Log holds everything that publishers and clients saw.
type Log struct {
	Publishes []Publish
	Clients   []Client

	// Held is the minimum number of messages in the history of a topic: a position with
	// at most that many messages after it must be recovered. 0 means no such guarantee.
	Held int

	// HeldByPatterns is the same for patterns: the messages of all topics that a pattern matches.
	HeldByPatterns int

	// Behind is set if the logs of the server may lag behind the answers to publishers, as
	// with a remote broker. A subscription may then begin before the head.
	Behind bool

	// Carried is set if messages keep their offsets in the epochs after their own, and may
	// be read there.
	Carried bool

	Epochs      []Epoch       // of the servers, in their order; nil: not known
	GracePeriod time.Duration // how long a member stays present without a subscription
	Counters    *Counters     // of the server when all was over; nil: not known
}

// An Epoch is what positions begin with from a time on.
type Epoch struct {
	Name string
	From Time // before anybody could be answered in it
}

// Counters are the counters of a server.
type Counters struct {
	Broadcasts uint64 // answered with a position
	Messages   uint64 // ordered
	Deliveries uint64 // frames of messages and of presence that clients were given
	TooSlow    uint64 // connections that were closed as too slow
}

// CloseTooSlow is the close code of a connection that the server cut.
const CloseTooSlow = 4202

// Outcome is the result of a publish.
type Outcome uint8

// The outcomes.
const (
	Unknown      Outcome = iota // no answer came
	Acknowledged                // answered with a position
	Refused                     // answered with an error
)

// A Publish is one message as its publisher saw it.
type Publish struct {
	Topic    pubsub.Topic
	Data     string    // as clients see it; no other message has the same
	Key      string    // empty: none. With one it may be published again, while the key counts
	Called   Time      // before it was sent
	At       time.Time // when that was
	Answered Time      // after the answer; without meaning if Outcome is Unknown
	Outcome  Outcome
	Position pubsub.Position // if Acknowledged
}

// A Client has a name and the events that it received over all its connections.
type Client struct {
	Name   string
	Sub    string // of its tokens: the member that it is
	Events []Event
}

// Kind is the kind of an event.
type Kind string

// The kinds, with the fields of [Event] that each has beside Time and Topic.
const (
	Subscribed   Kind = "subscribed"   // Ask, Position, Recovered, Replay
	Message      Kind = "message"      // Position, Data
	Skipped      Kind = "skipped"      // From, Position: messages after From and up to Position were skipped
	Gap          Kind = "gap"          // Position: where the subscription continues
	Position     Kind = "position"     // Position: up to which the client has everything of the pattern
	Unsubscribed Kind = "unsubscribed" // none
	Leaving      Kind = "leaving"      // none, nor a Topic: the client is about to unsubscribe, one subscription at a time, or to end its connection
	Cut          Kind = "cut"          // Code, no Topic: the connection ended
	Rest         Kind = "rest"         // none, nor a Topic: all publishes had ended, and the client waited for what remained

	Joined    Kind = "joined"  // Members
	Left      Kind = "left"    // Members
	CountOnly Kind = "counted" // Count: there are too many to tell
	Snapshot  Kind = "listed"  // Members, Count: they are few enough again
	Members   Kind = "members" // Members, Count: the answer to a request for the members
)

// An Event is something that a client received.
type Event struct {
	Kind     Kind
	Time     Time      // after it was received
	At       time.Time // when that was
	Topic    pubsub.Topic
	Position pubsub.Position // the zero one in an answer that does not recover: the protocol does not tell, but messages follow
	From     pubsub.Position
	Data     string

	Ask       Ask // the command that is answered
	Recovered bool
	Replay    int // messages that follow at once; -1: the protocol does not tell

	Code    int      // with which the server closed; 0: it did not
	Members []string // by sub
	Count   int
}

// An Ask is how a client asked for a topic.
type Ask struct {
	Time  Time            // before it was sent
	Since pubsub.Position // the zero Position: without
	Last  int             // messages of the past; 0: none

	Presence bool   // the client becomes a member
	Grant    *Grant // what its token says; nil: not known
}

// A Grant is what a token allows.
type Grant struct {
	Topics []pubsub.Topic
	Until  time.Time // when subscriptions end; zero: never
}
