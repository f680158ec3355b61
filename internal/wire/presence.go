package wire

import "github.com/ikornaselur/notiflux/internal/pubsub"

// Presence says which members are present in a topic.
type Presence struct {
	Topic       pubsub.Topic
	Count       int             // of members
	Subscribers int             // of the topic, with or without presence
	Members     []pubsub.Member // nil for a count alone
}

// AppendPresenceBodyStart appends what comes before the members in the body of an HTTP
// answer to GET /presence.
func AppendPresenceBodyStart(dst []byte, p Presence) []byte {
	return append(AppendPresenceCounts(append(dst, '{'), p), MembersStart...)
}

const (
	// MembersStart comes before the members.
	MembersStart = `,"members":[`
	// PresenceEnd comes after the members.
	PresenceEnd = "]}"
)

// AppendPresenceCounts appends the members `topic`, `count` and `subscribers`.
func AppendPresenceCounts(dst []byte, p Presence) []byte {
	dst = append(dst, `"topic":`...)
	dst = AppendString(dst, string(p.Topic))
	dst = AppendInt(dst, `,"count":`, int64(p.Count))
	return AppendInt(dst, `,"subscribers":`, int64(p.Subscribers))
}

// MaxMemberBytes bounds the output of [AppendMember]: a token limits the name of a member
// to 255 bytes and its info to 1 KiB.
const MaxMemberBytes = 6 << 10

// MemberSize returns how many bytes [AppendMember] appends.
func MemberSize(m pubsub.Member) int {
	size := len(`{"sub":}`) + stringSize(m.Sub)
	if m.Info != nil {
		size += len(`,"info":`) + jsonSize(m.Info)
	}
	return size
}

// AppendMember appends a member as a JSON object.
func AppendMember(dst []byte, m pubsub.Member) []byte {
	dst = append(dst, `{"sub":`...)
	dst = AppendString(dst, m.Sub)
	if m.Info != nil {
		dst = appendJSON(append(dst, `,"info":`...), m.Info)
	}
	return append(dst, '}')
}
