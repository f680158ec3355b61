package client

import (
	"context"
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// DialForTest is Dial for a client that waits so long before each attempt.
func DialForTest(ctx context.Context, base string, o Options, delay func(int) time.Duration) (*Client, error) {
	caller, err := NewCallerForTest(base, o, delay)
	if err != nil {
		return nil, err
	}
	return dial(ctx, caller)
}

// NewCallerForTest is NewCaller likewise.
func NewCallerForTest(base string, o Options, delay func(int) time.Duration) (*Caller, error) {
	caller, err := NewCaller(base, o)
	if err != nil {
		return nil, err
	}
	caller.delay = delay
	return caller, nil
}

// AppendCursorForTest returns the cursor of topics in one epoch.
func AppendCursorForTest(epoch string, offsets map[pubsub.Topic]uint64) string {
	var all []cursorOffset
	for topic, offset := range offsets {
		all = append(all, cursorOffset{topic, offset})
	}
	return string(appendStreamCursor(nil, epoch, all))
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
