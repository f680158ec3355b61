package wire

// A Verb says what a command asks for.
type Verb uint8

// The verbs.
const (
	Subscribe      Verb = iota + 1 // to topics, with a token
	Unsubscribe                    // from topics
	UnsubscribeAll                 // from everything
	Broadcast                      // a message to a topic
	Auth                           // to take a token for the commands that carry none
	History                        // to read what a topic holds
	Members                        // to know who is subscribed to a topic
	Ping                           // to be answered
)
