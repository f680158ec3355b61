package broker

import (
	"context"

	"github.com/ikornaselur/notiflux/internal/presence"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// maxMembers is the maximum number of members in a list.
const maxMembers = 1000

// A Roster lists the members of topics, on all nodes of the broker.
type Roster struct {
	Topics   *topic.Topics
	Presence *presence.Registry
	Attacher *Attacher
}

// Read returns an event of the kind [pubsub.PresenceList], with up to 1,000 members, or a
// [pubsub.Error] with PresenceOff if the topic has no presence. It may
// wait for the broker, so an event loop must not call it.
func (r *Roster) Read(ctx context.Context, name pubsub.Topic) (*pubsub.PresenceEvent, error) {
	if err := r.Presence.Check(name); err != nil {
		return nil, err
	}
	if r.Presence.Shared() {
		pin, err := r.Attacher.AttachOne(ctx, topic.PresenceTopic(name))
		if err != nil {
			return nil, err
		}
		defer pin.Release()
	}
	return r.Known(name), nil
}

// Known returns what this node knows. That is everything while the presence topic is live.
func (r *Roster) Known(name pubsub.Topic) *pubsub.PresenceEvent {
	e := &pubsub.PresenceEvent{Topic: name, Kind: pubsub.PresenceList, Subscribers: r.Subscribers(name)}
	e.Members, e.Count = r.Presence.List(name, maxMembers)
	return e
}

// Subscribers returns the number of subscriptions to a topic that this node knows.
func (r *Roster) Subscribers(name pubsub.Topic) int {
	return r.Topics.Subscribers(name) + r.Presence.OtherSubscribers(name)
}
