// Package delivery checks what clients received against what was published. It
// proves the promise of the server from outside: no message is lost, doubled or
// out of place in silence.
//
// A test keeps a [Log] with a [Recorder], or writes one by hand: what publishers
// called and were answered, and what each client received, in its order. [Check]
// reads it when all is over and returns every fault that it finds. For each topic
// and epoch there must be one list of messages, offset by offset, so that
//
//   - an offset has one payload, for every client, and is given once;
//   - an acknowledged message stands at its position, a refused one nowhere, one
//     without an answer at most once;
//   - messages of which one was acknowledged before the other was sent stand in
//     that order;
//   - a subscription is given exactly the messages after its announced position,
//     until a gap or a skip is announced, it ends, or the connection does;
//   - recovered, the position is the one asked for, and what is replayed reaches
//     to the head; not recovered, the position is the head;
//   - a position that the history must still cover is recovered;
//   - nothing comes before the answer to a subscription, and nothing after the
//     answer to its end;
//   - at rest, a client has the head of each of its topics;
//   - a key stands for one message at one position;
//   - a message goes to who was allowed its topic when it was published;
//   - a new epoch is told to who comes with a position of the one before;
//   - joins and leaves of a member alternate, nobody is told to have left who was
//     away for less than the grace period, and at rest a client knows who is present;
//   - what the server counted is what publishers and clients saw.
//
// What was the head when a client was answered is known within bounds: all that
// was acknowledged before it asked, and nothing that was published after it had
// the answer. With no publisher at work the bounds meet.
//
// The package knows no server and no protocol. How a client turns bytes into
// events is its own affair, and that of the test.
package delivery

import (
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// Time orders the events of a log, whoever saw them: what has the lower one
// ended before the other began. The first is 1.
type Time int64

// A Log is all that publishers and clients saw.
type Log struct {
	Publishes []Publish
	Clients   []Client

	// Held is how many messages of a topic the history holds at least: a position
	// with so many or fewer after it must be recovered. 0: nothing must be.
	Held int

	// Behind is set if the logs of the server may be behind the answers to publishers, as
	// with a remote broker: what a subscription begins at need not be the head.
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

// Counters are what a server counted, to be compared with what was seen.
type Counters struct {
	Broadcasts uint64 // answered with a position
	Messages   uint64 // ordered
	Deliveries uint64 // frames of messages and of presence that clients were given
	TooSlow    uint64 // connections that were closed as too slow
}

// CloseTooSlow is the close code of a connection that the server cut.
const CloseTooSlow = 4202

// Outcome says what became of a publish.
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

// A Client is a client by name, and what came to it over all its connections.
type Client struct {
	Name   string
	Sub    string // of its tokens: the member that it is
	Events []Event
}

// Kind says what a client received.
type Kind string

// The kinds, with the fields of [Event] that each has beside Time and Topic.
const (
	Subscribed   Kind = "subscribed"   // Ask, Position, Recovered, Replay
	Message      Kind = "message"      // Position, Data
	Skipped      Kind = "skipped"      // From, Position: messages after From and up to Position were skipped
	Gap          Kind = "gap"          // Position: where it goes on
	Unsubscribed Kind = "unsubscribed" // none
	Leaving      Kind = "leaving"      // none, nor a Topic: the client is about to unsubscribe, one subscription at a time, or to end its connection
	Cut          Kind = "cut"          // Code, no Topic: the connection ended
	Rest         Kind = "rest"         // none, nor a Topic: all publishes had ended, and the client waited for what remained

	Joined    Kind = "joined"  // Members
	Left      Kind = "left"    // Members
	CountOnly Kind = "counted" // Count: there are too many to tell
	Snapshot  Kind = "listed"  // Members, Count: they are few enough again
	Members   Kind = "members" // Members, Count: the answer to a question who is present
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
