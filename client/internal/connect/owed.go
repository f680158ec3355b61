package connect

import (
	"cmp"
	"errors"
	"time"
)

const (
	// AnswerTimeout is above the time that a server takes to answer a command. One that
	// attaches topics to a remote broker may take several seconds.
	AnswerTimeout = 30 * time.Second
	// maxAnswerTimeout is how long an answer may take while other frames arrive.
	maxAnswerTimeout = 10 * AnswerTimeout
)

// ErrNoAnswer ends a connection whose server did not answer a command.
var ErrNoAnswer = errors.New("the server did not answer a command")

// Owed holds the commands of a connection whose answers are still to come. The zero value has
// none. It is not safe for concurrent use.
type Owed struct {
	sent  map[int64]time.Time // by the id of the command
	heard time.Time           // when the last frame arrived
}

// Sent notes that a command is sent now.
func (o *Owed) Sent(id int64) {
	if o.sent == nil {
		o.sent = make(map[int64]time.Time)
	}
	o.sent[id] = time.Now()
}

// Heard notes that a frame has arrived.
func (o *Owed) Heard() { o.heard = time.Now() }

// Answered notes that a command has its answer.
func (o *Owed) Answered(id int64) { delete(o.sent, id) }

// Overdue returns when an answer will be overdue. A negative duration means that one is, and 0
// that the server owes none.
func (o *Owed) Overdue() (overdue time.Duration) {
	for _, at := range o.sent {
		late := at.Add(AnswerTimeout)
		if behind := o.heard.Add(AnswerTimeout); behind.After(late) { // The answer may come behind many messages.
			late = behind
		}
		if most := at.Add(maxAnswerTimeout); most.Before(late) {
			late = most
		}
		if left := cmp.Or(time.Until(late), -1); overdue == 0 || left < overdue {
			overdue = left
		}
	}
	return overdue
}
