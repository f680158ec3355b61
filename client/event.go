package client

import (
	"encoding/json"
	"time"
)

// A Position says how far a subscription is in a topic. It is opaque: store it, and
// give it back in [SubscribeOptions.Since] or [HistoryOptions.Since] to resume.
// The empty Position is no position.
type Position string

// An Event is what a subscription yields while nothing is lost: a [Message],
// [Subscribed], [Skipped] or [Disconnected], or, with [SubscribeOptions.Presence],
// a [Present], [Joined] or [Left]. Later versions may add others, so ignore the ones
// that you do not know.
type Event interface{ event() }

// A Message was published to a topic.
type Message struct {
	Topic    string
	Position Position  // resume from here to get the messages after this one
	Time     time.Time // when the server accepted it, to the millisecond
	Data     []byte    // the published string or, if JSON is set, JSON value; the receiver owns it
	JSON     bool      // a JSON value other than a string was published
}

// Text returns Data as a string.
func (m Message) Text() string { return string(m.Data) }

// Decode stores the message in the value that v points to. It decodes Data as JSON,
// as [json.Unmarshal] does. If a string was published and v is a *string, it stores
// the string as it is.
func (m Message) Decode(v any) error {
	if text, ok := v.(*string); ok && !m.JSON {
		*text = string(m.Data)
		return nil
	}
	return json.Unmarshal(m.Data, v)
}

// Subscribed reports that the messages of a topic after Position follow, and that
// none of them is missing.
type Subscribed struct {
	Topic    string
	Position Position
	Replay   int  // how many of the messages that follow are earlier ones
	Resumed  bool // the client was connected before, and continues where it was
}

// Skipped reports that a subscription with [SubscribeOptions.Latest] left out the
// messages after From, up to and including To, because newer ones were there.
type Skipped struct {
	Topic    string
	From, To Position
}

// Disconnected reports that the connection has ended or could not be made. The
// client connects again. Then each topic yields a [Subscribed] or a [*LostError].
type Disconnected struct {
	Err error // why
}

// A Member is someone who is present on a topic, with any number of connections.
type Member struct {
	Sub  string // the sub claim of the member's token
	Info []byte // the JSON object in the info claim of the token; nil if it has none
}

// Present is the list of the members of a topic. It replaces what was known before.
// It follows each [Subscribed] and each [*LostError] of a subscription with presence.
// A topic with too many members to report each one yields it instead of [Joined] and
// [Left], at most once a second.
type Present struct {
	Topic       string
	Count       int      // members
	Subscribers int      // subscriptions to the topic, with or without presence
	Members     []Member // sorted by Sub; may be fewer than Count, or none
}

// Joined reports new members of a topic, or members whose Info has changed.
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
