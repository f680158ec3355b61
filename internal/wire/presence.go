package wire

import "github.com/ikornaselur/notiflux"

// AppendPresenceEvent appends what clients are told of a presence event. Of members that
// joined or left, it names one as `member` and several as `members`.
func AppendPresenceEvent(dst []byte, e *notiflux.PresenceEvent) []byte {
	switch e.Kind {
	case notiflux.PresenceJoin:
		return appendPresenceChange(dst, "join", e.Topic, e.Members)
	case notiflux.PresenceLeave:
		return appendPresenceChange(dst, "leave", e.Topic, e.Members)
	}
	return AppendPresence(dst, NoID, Presence{Topic: e.Topic, Count: e.Count, Subscribers: e.Subscribers, Members: e.Members})
}

func appendPresenceChange(dst []byte, name string, topic notiflux.Topic, members []notiflux.Member) []byte {
	dst = appendType(dst, name, NoID)
	dst = append(dst, `,"topic":`...)
	dst = appendString(dst, string(topic))
	if len(members) == 1 {
		dst = append(dst, `,"member":`...)
		return append(AppendMember(dst, members[0]), '}')
	}
	return append(appendMembers(dst, members), '}')
}

// Presence says which members are present in a topic.
type Presence struct {
	Topic       notiflux.Topic
	Count       int               // of members
	Subscribers int               // of the topic, with or without presence
	Members     []notiflux.Member // nil for a count alone
}

// AppendPresence appends the answer to a command of [Members] or, with NoID, the presence
// event with all members or their number.
func AppendPresence(dst []byte, id ID, p Presence) []byte {
	dst = appendType(dst, "presence", id)
	return append(appendPresence(append(dst, ','), p), '}')
}

// AppendPresenceStart appends what comes before the members in the answer to a command
// of [Members]. [PresenceEnd] comes after them.
func AppendPresenceStart(dst []byte, id ID, p Presence) []byte {
	dst = append(appendType(dst, "presence", id), ',')
	return append(appendPresenceCounts(dst, p), membersStart...)
}

// AppendPresenceBodyStart appends what comes before the members in the body of an HTTP
// answer to GET /presence.
func AppendPresenceBodyStart(dst []byte, p Presence) []byte {
	return append(appendPresenceCounts(append(dst, '{'), p), membersStart...)
}

const (
	membersStart = `,"members":[`
	// PresenceEnd is what comes after the members.
	PresenceEnd = "]}"
)

func appendPresence(dst []byte, p Presence) []byte {
	dst = appendPresenceCounts(dst, p)
	if p.Members != nil {
		dst = appendMembers(dst, p.Members)
	}
	return dst
}

func appendPresenceCounts(dst []byte, p Presence) []byte {
	dst = append(dst, `"topic":`...)
	dst = appendString(dst, string(p.Topic))
	dst = appendInt(dst, `,"count":`, int64(p.Count))
	return appendInt(dst, `,"subscribers":`, int64(p.Subscribers))
}

func appendMembers(dst []byte, members []notiflux.Member) []byte {
	dst = append(dst, membersStart...)
	for i, m := range members {
		dst = AppendMember(appendComma(dst, i), m)
	}
	return append(dst, ']')
}

// MaxMemberBytes bounds the output of [AppendMember]: a token limits the name of a member
// to 255 bytes and its info to 1 KiB.
const MaxMemberBytes = 6 << 10

// MemberSize returns how many bytes [AppendMember] appends.
func MemberSize(m notiflux.Member) int {
	size := len(`{"sub":}`) + stringSize(m.Sub)
	if m.Info != nil {
		size += len(`,"info":`) + jsonSize(m.Info)
	}
	return size
}

// AppendMember appends a member as a JSON object.
func AppendMember(dst []byte, m notiflux.Member) []byte {
	dst = append(dst, `{"sub":`...)
	dst = appendString(dst, m.Sub)
	if m.Info != nil {
		dst = appendJSON(append(dst, `,"info":`...), m.Info)
	}
	return append(dst, '}')
}
