package pubsub

import (
	"fmt"
	"strconv"
)

// A Publication is a message for a broker to order, and the outcome.
type Publication struct {
	Topic   Topic
	Body    Body
	Key     string     // idempotency key: within its topic, a second message with the key is not published again; empty for none
	Remote  string     // the address of the publisher, as in [net/http.Request].RemoteAddr
	Issuer  string     // whose key verified the publisher's token; empty: not known
	Subject string     // of the publisher's token; the memory for keys is shared out by subject
	Exclude Connection // a connection that must not receive the message; 0 for none

	// The outcome. The broker sets it, unless Err is already set.
	Position Position
	Err      error
}

// MaxKeyBytes is the length of the longest key, in bytes of UTF-8.
const MaxKeyBytes = 255

// CheckKey returns nil if s can be the key of a publication: 1 to [MaxKeyBytes] bytes of
// UTF-8 without control characters. Otherwise it returns an [Error] with [Malformed].
func CheckKey(s string) error {
	if _, err := ParseTopic(s); err != nil { // The rules for topics are the same.
		return Errorf(Malformed, "the key is invalid: a key has 1 to %d bytes of UTF-8 and no control characters", MaxKeyBytes)
	}
	return nil
}

// A Connection identifies one connection of a client. The server sends it to the client
// when the connection opens. 0 means no connection.
type Connection uint64

// String returns the form in which clients see c: 16 hexadecimal digits.
func (c Connection) String() string { return fmt.Sprintf("%016x", uint64(c)) }

// ParseConnection parses the text of a connection. It accepts only what [Connection.String]
// writes for a connection other than 0. For anything else it returns an [Error] with
// [Malformed].
func ParseConnection(s string) (Connection, error) {
	n, err := strconv.ParseUint(s, 16, 64)
	if c := Connection(n); err == nil && c != 0 && c.String() == s {
		return c, nil
	}
	return 0, Errorf(Malformed, "the connection name is malformed: use the 16 hexadecimal digits that the client received as `connection` in `welcome` or `hello`")
}
