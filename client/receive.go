package client

import (
	"encoding/json"
	"runtime"
	"strings"
	"time"

	"github.com/ikornaselur/notiflux/client/internal/tokens"
	"github.com/ikornaselur/notiflux/client/internal/wire"
)

// read handles the frames of a session until it ends, and returns why it ended.
func (l *lane) read(s *session) error {
	for {
		f, err := s.conn.Read()
		if err != nil {
			return err
		}
		behind, notes := l.receive(s, f)
		for _, n := range notes {
			l.hub.log.Debug(n.text, n.args...)
		}
		if behind {
			// Let a loop run that is ready, or it may lose messages only because
			// this goroutine never pauses. This does not wait for a busy loop.
			runtime.Gosched()
		}
	}
}

// A note is a log record that waits until hub.mu is unlocked.
type note struct {
	text string
	args []any
}

// receive handles a frame. It reports whether a loop is behind, and returns what to log.
func (l *lane) receive(s *session, f *wire.Frame) (behind bool, notes []note) {
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	behind = l.receiveLocked(s, f)
	notes, l.notes = l.notes, nil
	return behind, notes
}

func (l *lane) receiveLocked(s *session, f *wire.Frame) (behind bool) {
	if l.hub.closed {
		return false // what the frame may start would not end
	}
	l.cut = false
	s.owed.Heard()
	switch f.Type {
	case "message", "skipped", "gap", wire.Expired:
		return l.moveLocked(f)
	case "join", "leave", "presence":
		return l.presentLocked(s, f)
	case "subscribed":
		l.answeredLocked(s, f)
	case "unsubscribed":
		l.endedLocked(f)
	case "error":
		l.failedLocked(s, f)
	}
	// Frames of other types are answers that nothing waits for, or were added by later
	// versions of the protocol.
	l.wakeUp() // once for all feeds of the frame
	return false
}

// liveLocked returns the live feed of a topic; nil: there is none.
func (l *lane) liveLocked(topic string) *feed {
	if f := l.feeds[topic]; f != nil && f.state == feedLive {
		return f
	}
	return nil
}

// moveLocked handles a frame that moves a topic to a new position.
func (l *lane) moveLocked(frame *wire.Frame) (behind bool) {
	f := l.liveLocked(frame.Topic)
	if f == nil {
		return false
	}
	next := frame.Position
	if frame.Type == "skipped" {
		next = frame.To
	}
	p, err := wire.ParsePosition(next)
	if err != nil {
		l.faultLocked("a position is malformed", f)
		return false
	}
	if frame.Type != wire.Expired && p.Epoch == f.position.Epoch && p.Offset <= f.position.Offset {
		l.faultLocked("a position does not come after the one before", f)
		return false
	}
	e := entry{from: f.at(), to: Position(next)}
	switch frame.Type {
	case "message":
		f.replay = max(0, f.replay-1)
		e.event = newMessage(f.topic, e.to, frame.Time, frame.Data)
	case "skipped":
		f.replay = min(f.replay, 1) // the newest message
		e.event = Skipped{Topic: f.topic, From: e.from, To: e.to}
	case "gap":
		e.err = &LostError{Topic: f.topic, Since: e.from, Position: e.to, Reason: Gap}
	case wire.Expired:
		e.err = &LostError{Topic: f.topic, Since: e.from, Position: e.to, Reason: Expired}
	}
	if e.err == nil && p.Epoch != f.position.Epoch {
		l.faultLocked("the epoch changed without a gap", f)
		e.event, e.err = nil, &LostError{Topic: f.topic, Since: e.from, Position: e.to, Reason: Gap}
	}
	if e.err != nil && f.presence {
		f.wantList() // events may be missing too
		l.wakeUp()
	}
	f.position = p
	return f.deliverLocked(e)
}

// newMessage returns a message with the data of a frame or a history.
func newMessage(topic string, p Position, milliseconds int64, data json.RawMessage) Message {
	m := Message{Topic: topic, Position: p, Time: time.UnixMilli(milliseconds), Data: data, JSON: true}
	var text string
	if len(data) > 0 && data[0] == '"' && json.Unmarshal(data, &text) == nil {
		m.Data, m.JSON = []byte(text), false
	}
	return m
}

// presentLocked handles a frame about the members of a topic.
func (l *lane) presentLocked(s *session, frame *wire.Frame) (behind bool) {
	answered := s.listing[frame.ID].feed
	s.answeredLocked(frame.ID)
	f := l.liveLocked(frame.Topic)
	if f == nil || !f.presence {
		return false
	}
	if f == answered {
		f.renewed = false
	}
	e := entry{from: f.at(), to: f.at()}
	switch frame.Type {
	case "join":
		e.event = Joined{Topic: f.topic, Members: members(frame)}
	case "leave":
		e.event = Left{Topic: f.topic, Members: members(frame)}
	case "presence":
		e.event = Present{Topic: f.topic, Count: frame.Count, Subscribers: frame.Subscribers, Members: members(frame)}
	}
	return f.deliverLocked(e)
}

func members(frame *wire.Frame) (all []Member) {
	for _, m := range frame.All() {
		all = append(all, Member{Sub: m.Sub, Info: m.Info})
	}
	return all
}

// faultLocked counts a frame that breaks the protocol. The caller ignores the frame.
func (l *lane) faultLocked(what string, f *feed) {
	l.hub.faults++
	l.noteLocked("protocol fault", "fault", what, "topic", f.topic, "faults", l.hub.faults)
}

func (l *lane) noteLocked(text string, args ...any) { l.notes = append(l.notes, note{text, args}) }

// pendingLocked returns the feeds that wait for the answer to a subscribe command.
func (s *session) pendingLocked(id int64) []*feed {
	batch := keep(s.pending[id], func(f *feed) bool { return f.state == feedAsked })
	delete(s.pending, id)
	return batch
}

// answeredLocked notes that a command has its answer.
func (s *session) answeredLocked(id int64) {
	delete(s.listing, id)
	s.owed.Answered(id)
}

// answeredLocked handles the answer to a subscribe command. Event streams answer in parts.
func (l *lane) answeredLocked(s *session, frame *wire.Frame) {
	s.answeredLocked(frame.ID)
	answers := frame.Answers()
	var d tokens.Denial
	for _, f := range s.pendingLocked(frame.ID) {
		if a, ok := answers[f.topic]; ok {
			if p, err := wire.ParsePosition(a.Position); err == nil {
				f.subscribedLocked(p, a)
				continue
			}
			l.faultLocked("a position is malformed", f)
			l.waitLocked(f)
		} else if r, ok := frame.Refused[f.topic]; ok {
			l.refuseLocked(f, r, false, &d)
		} else if s.streams {
			s.pending[frame.ID] = append(s.pending[frame.ID], f)
		} else {
			l.faultLocked("a topic is not in the answer", f)
			l.waitLocked(f)
		}
	}
	d.Extend(tokens.Subscribe)
}

// endedLocked handles the end of subscriptions that the server has ended.
func (l *lane) endedLocked(frame *wire.Frame) {
	if frame.Code == "" && frame.ID != 0 {
		return // the answer to an unsubscribe command
	}
	r := wire.Refusal{Code: frame.Code, Message: frame.Message}
	if r.Message == "" {
		r.Message = "the server ended the subscription"
	}
	var d tokens.Denial
	for _, topic := range frame.Ended() {
		if f := l.liveLocked(topic); f != nil {
			l.refuseLocked(f, r, r.Code == "", &d)
		}
	}
	d.Extend(tokens.Subscribe)
}

// failedLocked handles an error in place of the answer to a command.
func (l *lane) failedLocked(s *session, frame *wire.Frame) {
	asked := s.listing[frame.ID]
	s.answeredLocked(frame.ID)
	if f := asked.feed; f != nil && f.state == feedLive {
		switch {
		case f.renewLocked(asked.token, frame.Code):
			f.wantList()
		case frame.Retry || wire.Passing(frame.Code) || frame.Code == wire.TooMany:
			l.listLaterLocked(f)
		default:
			f.renewed = false
			f.deliverLocked(entry{event: Present{Topic: f.topic, Err: &Error{Code: frame.Code, Message: frame.Message}}, from: f.at(), to: f.at()})
		}
	}
	var d tokens.Denial
	for _, f := range s.pendingLocked(frame.ID) {
		l.refuseLocked(f, wire.Refusal{Code: frame.Code, Message: frame.Message}, frame.Retry, &d)
	}
	d.Extend(tokens.Subscribe)
}

// refuseLocked handles the refusal of a feed: the lane subscribes to it again, with another
// token or later, or the feed ends. The caller extends d after the last refusal of a frame.
func (l *lane) refuseLocked(f *feed, r wire.Refusal, retry bool, d *tokens.Denial) {
	switch {
	case f.renewLocked(f.token, r.Code):
		l.wantLocked(f)
	case f.tokens.HasSource() && wire.Extensible(r.Code) && !f.extended:
		f.extended = true
		d.Add(f.tokens, f.topic, r.Code)
		l.wantLocked(f)
	case retry || wire.Passing(r.Code):
		l.waitLocked(f)
	case r.Code == wire.TooMany && len(l.feeds) > 1 && l.loadLocked() > l.room:
		f.moveLocked()
	case r.Code == wire.TooMany && f.state == feedAsked && !f.crowded: // Topics may have left since the command was sent.
		f.crowded = true
		l.wantLocked(f)
	default:
		if f.token != "" {
			r.Message = strings.ReplaceAll(r.Message, f.token, "REDACTED")
		}
		l.hub.refuseLocked([]*feed{f}, &Error{Code: r.Code, Message: r.Message, Topic: f.topic})
		return
	}
	l.noteLocked("topic refused for now", "topic", f.topic, "error", r.Code+": "+r.Message)
}

// renewLocked has the source asked for another token, if that may help after the server
// refused one with a code, and has not been tried yet. It reports whether that is so.
func (f *feed) renewLocked(token, code string) bool {
	if !f.tokens.HasSource() || !wire.Renewable(code) || f.renewed {
		return false
	}
	f.renewed = true
	f.tokens.Renew(tokens.Subscribe, token, code)
	return true
}
