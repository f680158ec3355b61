package bench

import "time"

// ScanForTest cuts what chunks hold into events, and describes them.
func ScanForTest(chunks ...[]byte) (events []string) {
	s := new(scanner)
	for _, b := range chunks {
		for {
			e, payload, rest := s.next(b)
			if e == needMore {
				break
			}
			events = append(events, s.describe(e, payload))
			if e == malformed {
				return events
			}
			b = rest
		}
	}
	return events
}

func (s *scanner) describe(e event, payload []byte) string {
	switch e {
	case gotText:
		return "text " + string(s.head[:s.headLen])
	case gotBinary:
		return "binary " + string(s.head[:s.headLen])
	case gotPing:
		return "ping " + string(payload)
	case gotPong:
		return "pong " + string(payload)
	case gotClose:
		return "close " + string(payload)
	}
	return "malformed"
}

// MarkForTest returns a mark as it is sent, and what it is read as.
func MarkForTest(publisher uint8, sequence uint32, sent uint64) (text string, back [3]uint64, ok bool) {
	b := make([]byte, markBytes)
	mark{publisher, sequence, sent}.put(b)
	m, ok := parseMark(b)
	return string(b), [3]uint64{uint64(m.publisher), uint64(m.sequence), m.sent}, ok
}

// TakeForTest returns a function that has a lane take bytes of a connection,
// whose next message is each time the first of its publisher.
func TakeForTest(messageBytes int) func([]byte) {
	l := newLane(newFlow(1, func() (now time.Duration) { return }), messageBytes, true)
	s := &subscriber{next: make([]uint32, 1)}
	return func(b []byte) {
		s.next[0] = 0
		l.take(s, b)
	}
}
