package server

import (
	"slices"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/presence"
)

// publishPresence appends the events of a change to the presence topic.
func (s *Server) publishPresence(e presence.Event) {
	var events []*notiflux.PresenceEvent
	add := func(kind notiflux.PresenceKind, members []notiflux.Member) {
		event := &notiflux.PresenceEvent{Topic: e.Topic, Kind: kind, Members: members}
		if event.Supersedes() {
			event.Count, event.Subscribers = e.Count, s.topics.Subscribers(e.Topic)
		}
		events = append(events, event)
	}
	switch e.Kind {
	case presence.CountOnly:
		add(notiflux.PresenceCount, nil)
	case presence.Snapshot:
		add(notiflux.PresenceList, e.Members)
	case presence.Changes:
		for members := range slices.Chunk(e.Left, notiflux.MaxEventMembers) {
			add(notiflux.PresenceLeave, members)
		}
		for members := range slices.Chunk(e.Joined, notiflux.MaxEventMembers) {
			add(notiflux.PresenceJoin, members)
		}
	}
	s.topics.AppendPresence(e.Topic, events...)
}
