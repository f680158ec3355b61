package client

import "github.com/ikornaselur/notiflux"

// AppendCursorForTest returns the cursor of topics in one epoch.
func AppendCursorForTest(epoch string, offsets map[notiflux.Topic]uint64) string {
	var places []place
	for topic, offset := range offsets {
		places = append(places, place{topic, offset})
	}
	return string(appendCursor(nil, epoch, places))
}

// ParseFrameForTest says of what type a frame is, and who it tells of.
func ParseFrameForTest(data []byte) (kind string, members []Member, err error) {
	f, err := parseFrame(data)
	return f.Type, f.all(), err
}

// EventReaderForTest reads the data of server-sent events.
type EventReaderForTest = eventReader

// NewEventReaderForTest is what streams are read with.
var NewEventReaderForTest = newEventReader

// Next returns the data of the next event.
func (r *EventReaderForTest) Next() ([]byte, error) { return r.next() }

// ParseHistoryForTest reads the answer to a history call.
var ParseHistoryForTest = parseHistory
