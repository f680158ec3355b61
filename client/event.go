package client

import (
	"encoding/json"
	"time"
)

// A Position is a place between two messages of a topic. It is opaque. To resume from it,
// pass it in [SubscribeOptions.Since] or [HistoryOptions.Since]. The empty Position means
// that there is none.
type Position string

// An Event is a [Message], [Subscribed], [Skipped] or [Disconnected] and, with
// [SubscribeOptions.Presence], a [Present], [Joined] or [Left]. Patterns have [PatternPosition]
// too. Ignore other types: later versions may add them.
type Event interface{ event() }

// A Message was published to a topic.
type Message struct {
	Topic    string
	Position Position  // after the message: resume from it to get the next one
	Time     time.Time // when the server accepted the message, to the millisecond
	Data     []byte    // the published string or, if JSON is set, the published JSON value; yours to keep
	JSON     bool      // the published value is not a string
}

// Text returns Data as a string.
func (m Message) Text() string { return string(m.Data) }

// Decode decodes Data as JSON into the value that v points to, as [json.Unmarshal] does. But
// if a string was published and v is a *string, Decode stores the string as it is.
func (m Message) Decode(v any) error {
	if text, ok := v.(*string); ok && !m.JSON {
		*text = string(m.Data)
		return nil
	}
	return json.Unmarshal(m.Data, v)
}

// Subscribed reports that all messages of a topic after Position follow.
type Subscribed struct {
	Topic    string
	Position Position
	Replay   int  // how many of the messages that follow were published earlier
	Resumed  bool // the client has reconnected and resumes where it was
}

// Skipped reports that a subscription with [SubscribeOptions.Latest] has left out the
// messages after From up to and including To, because newer ones were available.
type Skipped struct {
	Topic    string
	From, To Position
}

// Disconnected reports that a connection of the subscription has ended or could not be made,
// and that the client reconnects. Once it has, each topic of that connection yields a
// [Subscribed] or a [*LostError]. A subscription usually has one connection. It has more if a
// topic could not share one with another subscription, or if the server takes no more topics
// on one.
type Disconnected struct {
	Err error // why
}

// A Member is present on a topic, with one connection or with several.
type Member struct {
	Sub  string // the claim sub of the member's token
	Info []byte // the claim info of the token, a JSON object; nil if there is none
}

// Present is the current list of the members of a topic, and replaces all that you know of
// them. A subscription with presence yields it after each [Subscribed] and [*LostError].
// A topic with very many members yields it in place of [Joined] and [Left], at most once a
// second.
type Present struct {
	Topic       string
	Count       int      // number of members
	Subscribers int      // number of subscriptions, with and without presence
	Members     []Member // sorted by Sub; of a large topic only the first ones, or none
	Err         error    // of an event: why the server refused the list; the numbers are then zero
}

// Joined reports new members of a topic, and members whose Info has changed.
type Joined struct {
	Topic   string
	Members []Member
}

// Left reports members that have left a topic. Their Info is nil.
type Left struct {
	Topic   string
	Members []Member
}

func (Message) event()      {}
func (Subscribed) event()   {}
func (Skipped) event()      {}
func (Disconnected) event() {}
func (Present) event()      {}
func (Joined) event()       {}
func (Left) event()         {}
