package presence

import (
	"slices"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// Messages returns the event in the form that members get, in order. A message names at
// most [pubsub.MaxEventMembers] members that joined or left. subscribers is the number of
// subscriptions of the topic, with or without presence.
func (e Event) Messages(subscribers int) (all []*pubsub.PresenceEvent) {
	switch e.Kind {
	case CountOnly:
		return []*pubsub.PresenceEvent{{Topic: e.Topic, Kind: pubsub.PresenceCount, Count: e.Count, Subscribers: subscribers}}
	case Snapshot:
		return []*pubsub.PresenceEvent{{Topic: e.Topic, Kind: pubsub.PresenceList, Members: e.Members, Count: e.Count, Subscribers: subscribers}}
	}
	for members := range slices.Chunk(e.Left, pubsub.MaxEventMembers) {
		all = append(all, &pubsub.PresenceEvent{Topic: e.Topic, Kind: pubsub.PresenceLeave, Members: members})
	}
	for members := range slices.Chunk(e.Joined, pubsub.MaxEventMembers) {
		all = append(all, &pubsub.PresenceEvent{Topic: e.Topic, Kind: pubsub.PresenceJoin, Members: members})
	}
	return all
}
