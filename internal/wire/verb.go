package wire

// A Verb says what a command asks for.
type Verb uint8

// The verbs. The text protocol has those up to UnsubscribeAll, and Ignore and
// Invalid; the JSON protocol all but these two.
const (
	Ignore         Verb = iota // nothing: chatter that is no command
	Subscribe                  // to topics, with a token
	Unsubscribe                // from topics
	UnsubscribeAll             // from everything
	Invalid                    // to be answered with Answer
	Broadcast                  // a message to a topic
	Auth                       // to take a token for the commands that carry none
	History                    // to read what a topic holds
	Members                    // to know who is subscribed to a topic
	Ping                       // to be answered
)
