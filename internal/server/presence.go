package server

import (
	"slices"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/presence"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// maxMembersTold is how many members a frame tells of.
const maxMembersTold = 100

// tell gives what changed in a topic's presence to those who are present there.
func (s *Server) tell(e presence.Event) {
	var notices [][]byte
	switch e.Kind {
	case presence.CountOnly:
		s.topics.NotifyWhole(e.Topic, s.appendPresence(e, nil))
		return
	case presence.Snapshot:
		s.topics.NotifyWhole(e.Topic, s.appendPresence(e, e.Members))
		return
	case presence.Changes:
		for members := range slices.Chunk(e.Left, maxMembersTold) {
			notices = append(notices, wire.AppendLeave(nil, e.Topic, members))
		}
		for members := range slices.Chunk(e.Joined, maxMembersTold) {
			notices = append(notices, wire.AppendJoin(nil, e.Topic, members))
		}
	}
	s.topics.Notify(e.Topic, notices...)
}

func (s *Server) appendPresence(e presence.Event, members []notiflux.Member) []byte {
	return wire.AppendPresence(nil, wire.NoID, wire.Presence{Topic: e.Topic, Count: e.Count, Subscribers: s.topics.Subscribers(e.Topic), Members: members})
}
