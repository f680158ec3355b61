package pubsub

import (
	"fmt"
	"strconv"
)

// A Publication is a message that is to be ordered, and what became of it.
type Publication struct {
	Topic   Topic
	Body    Body
	Key     string     // names the message among those of its topic for a while, so that publishing it again changes nothing; empty: none
	Subject string     // the publisher, as its token names it; its share of the memory for keys counts by that
	Exclude Connection // does not get the message; 0: nobody

	// What became of it: set by who orders it, unless Err is set already.
	Position Position
	Err      error
}

// MaxKeyBytes is the length of the longest key, in bytes of UTF-8.
const MaxKeyBytes = 255

// CheckKey returns nil if s can be the key of a publication: 1 to [MaxKeyBytes]
// bytes of UTF-8 without control characters; else an [Error] with [Malformed].
func CheckKey(s string) error {
	if _, err := ParseTopic(s); err != nil { // The same is asked of a topic.
		return Errorf(Malformed, "the key is invalid: a key has 1 to %d bytes of UTF-8 and no control characters", MaxKeyBytes)
	}
	return nil
}

// A Connection names one connection of a client, which is told its name in the
// first thing that it hears. 0 is no connection.
type Connection uint64

// String returns the form in which clients see c: 16 hexadecimal digits.
func (c Connection) String() string { return fmt.Sprintf("%016x", uint64(c)) }

// ParseConnection returns the Connection that s stands for. It accepts just what
// [Connection.String] writes, but for no connection: anything else is an [Error]
// with [Malformed].
func ParseConnection(s string) (Connection, error) {
	n, err := strconv.ParseUint(s, 16, 64)
	if c := Connection(n); err == nil && c != 0 && c.String() == s {
		return c, nil
	}
	return 0, Errorf(Malformed, "the connection is malformed: it is the 16 hexadecimal digits that the server sent to the client")
}
