package session

import (
	"time"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// An end is a way in which the server ends a session.
type end struct {
	code        wire.CloseCode
	reason      string
	why         notiflux.Code // what bye says; empty: there is no bye
	least, most time.Duration // until the client is to come back: a random time between them
}

var (
	endDraining     = end{wire.CloseRestart, "this server goes away: reconnect", notiflux.Draining, 500 * time.Millisecond, 3 * time.Second}
	endTooSlow      = end{wire.CloseTooSlow, "too slow: more unread than the server keeps", notiflux.TooSlow, 0, 0}
	endStuck        = end{wire.CloseTooSlow, "too slow: nothing was read for 60 s", notiflux.TooSlow, 0, 0}
	endTooMany      = end{wire.CloseTooMany, "too many commands", notiflux.TooMany, time.Second, 5 * time.Second}
	endOverCapacity = end{wire.CloseOverCapacity, "the server holds too many topics", notiflux.OverCapacity, 2 * time.Second, 5 * time.Second}
	endNoRoom       = end{wire.CloseOverCapacity, "no room for answers that are not read now", notiflux.OverCapacity, 2 * time.Second, 5 * time.Second}
	endExpired      = end{wire.CloseNormal, "no subscription is left", notiflux.TokenExpired, 0, 0}
	endIdle         = end{wire.CloseIdle, "no valid command within 60 s", notiflux.Idle, 0, 0}
	endBinary       = end{wire.CloseUnsupported, "the JSON protocol has no binary messages", "", 0, 0}
)

// end says goodbye and closes. The text protocol has no words for it, and inside of a
// reply there is no place for them.
func (s *Session) end(e end) {
	if !s.left {
		s.left = true
		s.logEnd(e)
	}
	var farewell []byte
	inside := s.replying() && s.json.reply.begun
	if e.why != "" && !inside && (s.json != nil || s.set != nil) {
		after := s.group.between(e.least, e.most)
		farewell = wire.AppendObject(nil, s.encoding, wire.Object{Event: "bye", JSON: wire.AppendBye(nil, e.why, after), Retry: after})
		farewell = append(farewell, wire.LastChunk(s.encoding)...)
	}
	s.conn.Close(farewell, e.code, e.reason)
}
