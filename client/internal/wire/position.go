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

// A Position is a place in a topic. Programs treat it as opaque. The client looks inside to
// check that positions increase, and to make cursors.
type Position struct {
	Epoch  string // within an epoch, offsets increase; empty: there is no position
	Offset uint64 // of the last message up to the position
}

// String returns the form that servers use: epoch:offset.
func (p Position) String() string { return p.Epoch + ":" + strconv.FormatUint(p.Offset, 10) }

var errPosition = errors.New("this is not a position: use one that the server sent")

// maxEpochBytes limits the length of an epoch.
const maxEpochBytes = 64

// ParsePosition parses a position. It accepts exactly the strings that [Position.String]
// returns.
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

// maxTopicBytes limits the length of a topic, in bytes of UTF-8.
const maxTopicBytes = 255

// CheckTopic returns an error that says what is wrong with the name of a topic, or nil.
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

// StreamCursor returns the cursor of an event stream whose topics are at offsets of one
// epoch. The format is that of docs/protocol.md, section 3. It is base64url without padding
// of:
//
//	cursorVersion
//	length of the epoch, 1 byte
//	epoch
//	for each topic, in byte order of the names:
//		first 8 bytes of the SHA-256 of the name
//		offset, unsigned varint
func StreamCursor(epoch string, offsets map[string]uint64) string {
	b := append([]byte{cursorVersion, byte(len(epoch))}, epoch...)
	for _, topic := range slices.Sorted(maps.Keys(offsets)) {
		hash := sha256.Sum256([]byte(topic))
		b = append(b, hash[:8]...)
		b = binary.AppendUvarint(b, offsets[topic])
	}
	return base64.RawURLEncoding.EncodeToString(b)
}
