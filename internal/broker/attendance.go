package broker

import (
	"github.com/ikornaselur/notiflux/internal/presence"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// Attendance holds the topics in which one client is present. The zero value is empty. It is
// not safe for concurrent use.
type Attendance struct {
	references map[pubsub.Topic]*presence.Reference
}

// Join makes the client a member of a topic. If it is present there already, it changes into
// member.
func (a *Attendance) Join(r Roster, name pubsub.Topic, member pubsub.Member) {
	ref := r.Presence.Join(name, member)
	a.Leave(name) // after Join, so that the member stays present
	if a.references == nil {
		a.references = make(map[pubsub.Topic]*presence.Reference)
	}
	a.references[name] = ref
}

// Leave ends the presence in a topic, and reports whether there was one.
func (a *Attendance) Leave(name pubsub.Topic) bool {
	ref := a.references[name]
	if ref == nil {
		return false
	}
	ref.Release()
	delete(a.references, name)
	return true
}
