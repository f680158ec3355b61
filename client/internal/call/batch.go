package call

import (
	"bytes"
	"slices"
)

const (
	// maxBatch is how many messages a server accepts in one request.
	maxBatch = 1000
	// maxBatchBytes is the size of a body that a server accepts by default.
	maxBatchBytes = 1 << 20
)

// A Batch is a set of messages to publish with one request. The zero value is empty.
type Batch struct {
	At     []int    // the caller's index of each message
	Bodies [][]byte // each message as JSON
	Token  string   // for all of the messages

	bytes int
}

// Fits reports whether there is room for one more message. An empty batch always has room.
func (b *Batch) Fits(body []byte) bool {
	return len(b.At) == 0 || len(b.At) < maxBatch && b.bytes+len(body) < maxBatchBytes-len("[]")
}

// Add adds a message.
func (b *Batch) Add(at int, body []byte) {
	b.At, b.Bodies = append(b.At, at), append(b.Bodies, body)
	b.bytes += len(body) + len(",")
}

// Halves returns the first and the second half of the messages.
func (b *Batch) Halves() (first, second Batch) {
	for i, at := range b.At {
		half := &first
		if i >= len(b.At)/2 {
			half = &second
		}
		half.Add(at, b.Bodies[i])
	}
	return first, second
}

// JSON returns the body of the request: a list of the messages.
func (b *Batch) JSON() []byte {
	return slices.Concat([]byte{'['}, bytes.Join(b.Bodies, []byte{','}), []byte{']'})
}
