package wire

import "github.com/ikornaselur/notiflux"

// AppendJoin appends the news that members joined a topic: one as `member`, several
// as `members`.
func AppendJoin(dst []byte, topic notiflux.Topic, members []notiflux.Member) []byte {
	return appendMove(dst, "join", topic, members)
}

// AppendLeave appends the news that members left a topic, likewise.
func AppendLeave(dst []byte, topic notiflux.Topic, members []notiflux.Member) []byte {
	return appendMove(dst, "leave", topic, members)
}

func appendMove(dst []byte, name string, topic notiflux.Topic, members []notiflux.Member) []byte {
	dst = appendType(dst, name, NoID)
	dst = append(dst, `,"topic":`...)
	dst = appendString(dst, string(topic))
	if len(members) == 1 {
		dst = append(dst, `,"member":`...)
		return append(appendMember(dst, members[0]), '}')
	}
	return append(appendMembers(dst, members), '}')
}

// A Presence is who is present in a topic.
type Presence struct {
	Topic       notiflux.Topic
	Count       int               // of members
	Subscribers int               // all subscriptions of the topic, with presence or not
	Members     []notiflux.Member // nil: not said
}

// AppendPresence appends the answer to a command of [Members], or, without
// an id, the news of how many members there are.
func AppendPresence(dst []byte, id ID, p Presence) []byte {
	dst = appendType(dst, "presence", id)
	return append(appendPresence(append(dst, ','), p), '}')
}

// AppendPresenceBody appends the body of an HTTP answer that holds p.
func AppendPresenceBody(dst []byte, p Presence) []byte {
	return append(appendPresence(append(dst, '{'), p), '}')
}

func appendPresence(dst []byte, p Presence) []byte {
	dst = append(dst, `"topic":`...)
	dst = appendString(dst, string(p.Topic))
	dst = appendInt(dst, `,"count":`, int64(p.Count))
	dst = appendInt(dst, `,"subscribers":`, int64(p.Subscribers))
	if p.Members != nil {
		dst = appendMembers(dst, p.Members)
	}
	return dst
}

func appendMembers(dst []byte, members []notiflux.Member) []byte {
	dst = append(dst, `,"members":[`...)
	for i, m := range members {
		dst = appendMember(appendComma(dst, i), m)
	}
	return append(dst, ']')
}

func appendMember(dst []byte, m notiflux.Member) []byte {
	dst = append(dst, `{"sub":`...)
	dst = appendString(dst, m.Sub)
	if m.Info != nil {
		dst = appendJSON(append(dst, `,"info":`...), m.Info)
	}
	return append(dst, '}')
}
