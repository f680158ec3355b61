package pubsub

import (
	"strconv"
	"strings"
)

// A Position is a point in the order of a topic's messages. It is opaque to clients: they
// keep the one that they receive, and send it back to resume.
type Position struct {
	Epoch  string // identifies one uninterrupted numbering; letters and digits
	Offset uint64 // offset of the last message that the position covers
}

// String returns the form in which clients see p: epoch:offset.
func (p Position) String() string { return string(p.AppendTo(nil)) }

// AppendTo appends what [Position.String] returns to dst.
func (p Position) AppendTo(dst []byte) []byte {
	dst = append(append(dst, p.Epoch...), ':')
	return strconv.AppendUint(dst, p.Offset, 10)
}

// ParsePosition parses the text of a position. It accepts only what [Position.String]
// writes. For anything else, even 01 or +1 as the offset, it returns an [Error] with
// [Malformed].
func ParsePosition(s string) (Position, error) {
	epoch, digits, ok := strings.Cut(s, ":")
	if !ok || !isEpoch(epoch) {
		return Position{}, Errorf(Malformed, "the position is malformed: a position looks like epoch:offset")
	}
	offset, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || strconv.FormatUint(offset, 10) != digits {
		return Position{}, Errorf(Malformed, "the position is malformed: its offset is a decimal number of at most 64 bits, without a sign or leading zeros")
	}
	return Position{Epoch: epoch, Offset: offset}, nil
}

// maxEpochBytes leaves room for the epochs of any broker, and limits what a client can
// send.
const maxEpochBytes = 64

func isEpoch(s string) bool {
	if s == "" || len(s) > maxEpochBytes {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return true
}
