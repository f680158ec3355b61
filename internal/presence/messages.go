package presence

import (
	"slices"

	"github.com/ikornaselur/notiflux"
)

// Messages returns the event as members get it, in order. A message names at most
// [notiflux.MaxEventMembers] members that joined or left. subscribers is the number of
// subscriptions of the topic, with presence or not.
func (e Event) Messages(subscribers int) (all []*notiflux.PresenceEvent) {
	switch e.Kind {
	case CountOnly:
		return []*notiflux.PresenceEvent{{Topic: e.Topic, Kind: notiflux.PresenceCount, Count: e.Count, Subscribers: subscribers}}
	case Snapshot:
		return []*notiflux.PresenceEvent{{Topic: e.Topic, Kind: notiflux.PresenceList, Members: e.Members, Count: e.Count, Subscribers: subscribers}}
	}
	for members := range slices.Chunk(e.Left, notiflux.MaxEventMembers) {
		all = append(all, &notiflux.PresenceEvent{Topic: e.Topic, Kind: notiflux.PresenceLeave, Members: members})
	}
	for members := range slices.Chunk(e.Joined, notiflux.MaxEventMembers) {
		all = append(all, &notiflux.PresenceEvent{Topic: e.Topic, Kind: notiflux.PresenceJoin, Members: members})
	}
	return all
}
