package bench

// markBytes is the length of a mark: the shortest message that can be measured.
const markBytes = 24

// A mark begins every message, and tells its subscribers what to expect next
// and how long it took. It is written in the letters a to p, four bits each, so
// that it stays the same through JSON and a text frame:
//
//	2 letters   publisher
//	8 letters   sequence
//	14 letters  sent
type mark struct {
	publisher uint8
	sequence  uint32 // counts the messages of a publisher to a topic, from 0
	sent      uint64 // nanoseconds since the run began; it lasts less than two years
}

// put writes m over the first markBytes of dst.
func (m mark) put(dst []byte) {
	putLetters(dst[:2], uint64(m.publisher))
	putLetters(dst[2:10], uint64(m.sequence))
	putLetters(dst[10:markBytes], m.sent)
}

func putLetters(dst []byte, v uint64) {
	for i := len(dst) - 1; i >= 0; i-- {
		dst[i] = 'a' + byte(v&15)
		v >>= 4
	}
}

// parseMark reads the mark that b begins with, and reports whether there is one.
func parseMark(b []byte) (m mark, ok bool) {
	if len(b) < markBytes {
		return m, false
	}
	publisher, ok1 := parseLetters(b[:2])
	sequence, ok2 := parseLetters(b[2:10])
	sent, ok3 := parseLetters(b[10:markBytes])
	return mark{uint8(publisher), uint32(sequence), sent}, ok1 && ok2 && ok3
}

func parseLetters(b []byte) (v uint64, ok bool) {
	for _, c := range b {
		c -= 'a'
		if c > 15 {
			return 0, false
		}
		v = v<<4 | uint64(c)
	}
	return v, true
}
