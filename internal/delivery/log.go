// Package delivery judges what clients received by what was published. It
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
//   - at rest, a client has the head of each of its topics.
//
// What was the head when a client was answered is known within bounds: all that
// was acknowledged before it asked, and nothing that was published after it had
// the answer. With no publisher at work the bounds meet.
//
// The package knows no server and no protocol. How a client turns bytes into
// events is its own affair, and that of the test.
package delivery

import "github.com/ikornaselur/notiflux"

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
}

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
	Topic    notiflux.Topic
	Data     string // as clients see it; no other message has the same
	Called   Time   // before it was sent
	Answered Time   // after the answer; without meaning if Outcome is Unknown
	Outcome  Outcome
	Position notiflux.Position // if Acknowledged
}

// A Client is a client by name, and what came to it over all its connections.
type Client struct {
	Name   string
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
	Cut          Kind = "cut"          // none, nor a Topic: the connection ended
	Rest         Kind = "rest"         // none, nor a Topic: all publishes had ended, and the client waited for what remained
)

// An Event is something that a client received.
type Event struct {
	Kind     Kind
	Time     Time // after it was received
	Topic    notiflux.Topic
	Position notiflux.Position // the zero one in an answer that does not recover: the protocol does not tell, but messages follow
	From     notiflux.Position
	Data     string

	Ask       Ask // the command that is answered
	Recovered bool
	Replay    int // messages that follow at once; -1: the protocol does not tell
}

// An Ask is how a client asked for a topic.
type Ask struct {
	Time  Time              // before it was sent
	Since notiflux.Position // the zero Position: without
	Last  int               // messages of the past; 0: none
}
