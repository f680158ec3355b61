package session

import (
	"time"

	"github.com/ikornaselur/notiflux/internal/fanout"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// maxPatterns is the number of patterns that a client may subscribe to.
const maxPatterns = 16

// A PatternDialect is a [Dialect] whose clients may subscribe to patterns, as to the topics of
// [pubsub.Pattern.Topic]. These are also among the topics that the other methods are called with.
type PatternDialect interface {
	// Position reports that the client has been sent every message of a pattern up to a
	// position. It is called at most once a second for each pattern.
	Position(s *Session, p pubsub.Pattern, to pubsub.Position)
}

// ensureOverlap returns the overlap of a session that subscribes to a topic, or nil if none of
// its subscriptions is to a pattern. Streams have none: their subscriptions never overlap.
func ensureOverlap(s *Session, name pubsub.Topic) *fanout.Overlap[*subscription] {
	if name.IsPattern() && s.extra.overlapping() == nil && !s.group.config.Endpoints[s.format/2].isStream() {
		s.ensureExtra().overlap = new(fanout.Overlap[*subscription])
		for _, sub := range s.subs.all {
			s.extra.overlap.Join(sub, sub.name(), &sub.cursor, topic.Resumed{Position: sub.cursor.Position(), Recovered: true}, sub.flags&asked != 0)
		}
	}
	return s.extra.overlapping()
}

// reportPositions reports the positions of patterns to the dialect.
func reportPositions(s *Session, now time.Duration) {
	d, ok := s.dialect.(PatternDialect)
	if !ok || s.extra.overlapping().Patterns() == 0 || s.closing {
		return
	}
	if again := s.extra.overlap.Report(now, func(p pubsub.Pattern, to pubsub.Position) { d.Position(s, p, to) }); again > 0 {
		s.conn.Arm(again)
	}
}
