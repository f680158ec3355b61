package client

import (
	"encoding/base64"
	"encoding/binary"
	"hash/fnv"
	"slices"
	"strings"

	"github.com/ikornaselur/notiflux"
)

// maxCursorBytes is the length of the longest cursor that a server reads.
const maxCursorBytes = 1024

// A place is how far a client is in a topic.
type place struct {
	topic  notiflux.Topic
	offset uint64
}

// appendCursor appends the cursor of places in one epoch, as docs/protocol.md has
// it (section 3): base64url without padding of the length of the epoch in a
// byte, the epoch, and for each topic in byte order of its name topicHash, most
// significant byte first, and the offset as an unsigned varint.
func appendCursor(dst []byte, epoch string, places []place) []byte {
	places = slices.Clone(places)
	slices.SortFunc(places, func(a, b place) int { return strings.Compare(string(a.topic), string(b.topic)) })
	b := append([]byte{byte(len(epoch))}, epoch...)
	for _, p := range places {
		b = binary.BigEndian.AppendUint32(b, topicHash(p.topic))
		b = binary.AppendUvarint(b, p.offset)
	}
	return base64.RawURLEncoding.AppendEncode(dst, b)
}

// topicHash stands for a topic in a cursor: FNV-1a of its bytes.
func topicHash(topic notiflux.Topic) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(topic)) // it never fails
	return h.Sum32()
}
