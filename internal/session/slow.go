package session

import (
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// How the server closes a client that is too slow. Until then the client delays no one: its
// cursors stay where its socket stopped.
var (
	endTooSlow = End{CloseCode: wire.CloseTooSlow, Reason: "too slow: unread messages exceed the limit", Code: pubsub.TooSlow}
	endStuck   = End{CloseCode: wire.CloseTooSlow, Reason: "too slow: nothing was read for 60 s", Code: pubsub.TooSlow}
)

// checkLag ends the session if its socket accepts no bytes now and it lags by more than
// Config.MaxLagBytes. Only unread bytes that the logs have dropped count, those of overlapping
// subscriptions once. A subscription in mode latest jumps to the newest message instead.
func (s *Session) checkLag() {
	if !s.conn.Blocked() {
		return // Messages that were not offered to the client do not count.
	}
	var lag uint64
	for sub := s.subs.dirty.First; sub != nil; sub = sub.nextDirty {
		n := sub.lag()
		if sub.flags&latest != 0 && !s.extra.overlapping().Waits(sub.name()) && (n > 0 || s.out.behind) {
			sub.skip() // It jumps while the log still holds the newest message.
			n = 0
		}
		lag += n
	}
	if s.extra.hasLarge() {
		lag += s.extra.large.answer.Lag()
	}
	most := s.group.config.MaxLagBytes
	if lag > most {
		lag -= min(lag, s.extra.overlapping().Repeated((*subscription).lag))
	}
	if lag > most && lag-s.subs.jumpToSnapshot() > most {
		s.abort(endTooSlow)
	}
}

// Stuck ends the session because its client has read nothing for a while. The transport
// decides when: see transport.Config.StallTimeout.
func (s *Session) Stuck() { s.abort(endStuck) }
