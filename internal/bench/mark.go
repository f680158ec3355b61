package bench

import (
	"encoding/binary"
	"encoding/hex"
)

// markBytes is the length of a mark, and so the size of the shortest message.
const markBytes = 24

// A mark begins every message. It tells subscribers which message to expect next and how long
// this one took. It is written in hexadecimal digits, which JSON and text frames leave
// unchanged:
//
//	2 digits   publisher
//	8 digits   sequence
//	14 digits  sent
type mark struct {
	publisher uint8
	sequence  uint32 // counts the messages of a publisher to a topic, from 0
	sent      uint64 // nanoseconds since the run began; it lasts less than two years
}

// put writes m over the first markBytes of dst.
func (m mark) put(dst []byte) {
	var b [markBytes / 2]byte
	binary.BigEndian.PutUint64(b[4:], m.sent) // The first of its bytes is 0, and the next line takes its place.
	binary.BigEndian.PutUint32(b[1:], m.sequence)
	b[0] = m.publisher
	hex.Encode(dst, b[:])
}

// parseMark parses the mark at the start of text, and reports whether there is one.
func parseMark(text []byte) (m mark, ok bool) {
	var b [markBytes / 2]byte
	if len(text) < markBytes {
		return m, false
	}
	if _, err := hex.Decode(b[:], text[:markBytes]); err != nil {
		return m, false
	}
	return mark{b[0], binary.BigEndian.Uint32(b[1:]), binary.BigEndian.Uint64(b[4:]) & (1<<56 - 1)}, true
}
