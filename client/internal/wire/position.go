package wire

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A Position says how far a client is in a topic. Programs do not look inside; the client
// does, to see that positions increase.
type Position struct {
	Epoch  string // names one uninterrupted numbering; empty: there is no position
	Offset uint64 // of the last message that the position covers
}

// String returns the form that a server takes: epoch:offset.
func (p Position) String() string { return p.Epoch + ":" + strconv.FormatUint(p.Offset, 10) }

// errPosition is why a text is not a position.
var errPosition = errors.New("not a position: use one that the server sent")

// maxEpochBytes is the length of the longest epoch.
const maxEpochBytes = 64

// ParsePosition reads what [Position.String] writes, and nothing else.
func ParsePosition(s string) (Position, error) {
	epoch, digits, _ := strings.Cut(s, ":")
	offset, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || strconv.FormatUint(offset, 10) != digits || epoch == "" || len(epoch) > maxEpochBytes || strings.ContainsFunc(epoch, isNoEpoch) {
		return Position{}, errPosition
	}
	return Position{Epoch: epoch, Offset: offset}, nil
}

func isNoEpoch(c rune) bool {
	return (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
}

// maxTopicBytes is the length of the longest topic, in bytes of UTF-8.
const maxTopicBytes = 255

// CheckTopic returns what is wrong with the name of a topic; nil: nothing.
func CheckTopic(topic string) error {
	switch {
	case topic == "":
		return errors.New("the topic is empty")
	case len(topic) > maxTopicBytes:
		return fmt.Errorf("the topic has %d bytes; the limit is %d", len(topic), maxTopicBytes)
	case !utf8.ValidString(topic):
		return fmt.Errorf("the topic %q is not UTF-8", topic)
	}
	for i, r := range topic {
		if r < 0x20 || 0x7f <= r && r < 0xa0 {
			return fmt.Errorf("the topic has the control character %U at byte %d", r, i)
		}
	}
	return nil
}

// cursorVersion is the first byte of a stream cursor of version 2.
const cursorVersion = 128 + 2

// StreamCursor returns the stream cursor of offsets by topic in one epoch, as
// docs/protocol.md has it (section 3): base64url without padding of cursorVersion, the
// length of the epoch in a byte, the epoch, and for each topic in byte order of its name
// the first 64 bits of the SHA-256 of the name and the offset as an unsigned varint.
func StreamCursor(epoch string, offsets map[string]uint64) string {
	b := append([]byte{cursorVersion, byte(len(epoch))}, epoch...)
	for _, topic := range slices.Sorted(maps.Keys(offsets)) {
		hash := sha256.Sum256([]byte(topic))
		b = append(b, hash[:8]...)
		b = binary.AppendUvarint(b, offsets[topic])
	}
	return base64.RawURLEncoding.EncodeToString(b)
}
