package session

import (
	"time"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// A closeReason says why the server closes a session.
type closeReason struct {
	closeCode   wire.CloseCode
	reason      string
	errorCode   notiflux.Code // sent in bye; empty for no bye
	least, most time.Duration // bounds of the random time after which the client should reconnect
}

var (
	closeDraining     = closeReason{wire.CloseRestart, "this server goes away: reconnect", notiflux.Draining, 500 * time.Millisecond, 3 * time.Second}
	closeTooSlow      = closeReason{wire.CloseTooSlow, "too slow: more unread than the server keeps", notiflux.TooSlow, 0, 0}
	closeStuck        = closeReason{wire.CloseTooSlow, "too slow: nothing was read for 60 s", notiflux.TooSlow, 0, 0}
	closeTooMany      = closeReason{wire.CloseTooMany, "too many commands", notiflux.TooMany, time.Second, 5 * time.Second}
	closeOverCapacity = closeReason{wire.CloseOverCapacity, "the server holds too many topics", notiflux.OverCapacity, 2 * time.Second, 5 * time.Second}
	closeOverBudget   = closeReason{wire.CloseOverCapacity, "no room for answers that are not read now", notiflux.OverCapacity, 2 * time.Second, 5 * time.Second}
	closeExpired      = closeReason{wire.CloseNormal, "no subscription is left", notiflux.TokenExpired, 0, 0}
	closeIdle         = closeReason{wire.CloseIdle, "no valid command within 60 s", notiflux.Idle, 0, 0}
	closeBinary       = closeReason{wire.CloseUnsupported, "the JSON protocol has no binary messages", "", 0, 0}
)

// closeWith sends a bye, if the dialect has one, and closes the connection. Inside a large
// answer no bye is possible.
func (s *Session) closeWith(e closeReason) {
	if !s.closing {
		s.closing = true
		s.logClose(e)
	}
	var farewell []byte
	inside := s.hasLargeAnswer() && s.json.largeAnswer.begun
	if e.errorCode != "" && !inside && (s.json != nil || s.stream != nil) {
		after := s.group.randomBetween(e.least, e.most)
		farewell = wire.AppendObject(nil, s.encoding, wire.Object{Event: "bye", JSON: wire.AppendBye(nil, e.errorCode, after), Retry: after})
		farewell = append(farewell, wire.LastChunk(s.encoding)...)
	}
	s.conn.Close(farewell, e.closeCode, e.reason)
}
