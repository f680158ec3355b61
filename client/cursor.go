package client

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// A cursorOffset is how far a client is in a topic.
type cursorOffset struct {
	topic  pubsub.Topic
	offset uint64
}

// cursorVersion is the first byte of a cursor of version 2.
const cursorVersion = 128 + 2

// appendStreamCursor appends the cursor of offsets in one epoch, as docs/protocol.md has
// it (section 3): base64url without padding of cursorVersion, the length of the epoch
// in a byte, the epoch, and for each topic in byte order of its name topicHash and the
// offset as an unsigned varint.
func appendStreamCursor(dst []byte, epoch string, offsets []cursorOffset) []byte {
	offsets = slices.Clone(offsets)
	slices.SortFunc(offsets, func(a, b cursorOffset) int { return strings.Compare(string(a.topic), string(b.topic)) })
	b := append([]byte{cursorVersion, byte(len(epoch))}, epoch...)
	for _, p := range offsets {
		hash := topicHash(p.topic)
		b = append(b, hash[:]...)
		b = binary.AppendUvarint(b, p.offset)
	}
	return base64.RawURLEncoding.AppendEncode(dst, b)
}

// topicHash stands for a topic in a cursor: the first 64 bits of the SHA-256 of its
// name.
func topicHash(topic pubsub.Topic) [8]byte {
	sum := sha256.Sum256([]byte(topic))
	return [8]byte(sum[:8])
}
