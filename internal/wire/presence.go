package wire

import "github.com/ikornaselur/notiflux/internal/pubsub"

// AppendPresenceBodyStart appends the beginning of the answer to GET /presence, up to the
// members.
func AppendPresenceBodyStart(dst []byte, p *pubsub.PresenceEvent) []byte {
	return append(AppendPresenceCounts(append(dst, '{'), p), MembersStart...)
}

const (
	// MembersStart comes before the members.
	MembersStart = `,"members":[`
	// PresenceEnd comes after the members.
	PresenceEnd = "]}"
)

// AppendPresenceCounts appends the members `topic`, `count` and `subscribers`.
func AppendPresenceCounts(dst []byte, p *pubsub.PresenceEvent) []byte {
	dst = append(dst, `"topic":`...)
	dst = AppendString(dst, string(p.Topic))
	dst = AppendInt(dst, `,"count":`, int64(p.Count))
	return AppendInt(dst, `,"subscribers":`, int64(p.Subscribers))
}

// MaxMemberBytes is an upper limit for the output of [AppendMember]: a token limits sub to
// 255 bytes and info to 1 KiB.
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
