package wire

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash/fnv"
	"io"

	"github.com/ikornaselur/notiflux"
)

// MaxStreamCursorBytes is the length of the longest cursor that is read. Places of 64 topics
// always fit.
const MaxStreamCursorBytes = 2048

// maxRawCursorBytes is how many bytes a cursor of 64 topics has before base64.
const maxRawCursorBytes = 2 + 64 + 64*(8+binary.MaxVarintLen64)

// A StreamCursor says how far a client stands in a set of topics of one epoch, as a
// short text that it keeps and sends back: base64url without padding of
//
//	1 byte    128 + version, which is 2
//	1 byte    length of the epoch
//	n bytes   epoch
//	then for each topic
//	8 bytes   TopicHash, most significant byte first
//	1–10      offset as an unsigned varint (encoding/binary)
//
// Version 1 is read for ever, and not written any more. It begins with the length of
// the epoch, 1 to 64, and has 4 bytes for a topic: FNV-1a of its name. There can be
// 64 versions: first bytes from 192 on are malformed.
type StreamCursor struct {
	version byte
	unknown bool // a version that this server cannot read
	epoch   string
	offsets []CursorOffset
}

// A CursorOffset is how far a client stands in one topic.
type CursorOffset struct {
	Hash   uint64 // TopicHash
	Offset uint64
}

const (
	cursorVersion = 2

	// The first byte of a cursor is its version if these bits of it are the mark.
	versionBits = 0xc0
	versionMark = 0x80
)

// neverCovered is a position that no server covers: this is no epoch.
var neverCovered = notiflux.Position{Epoch: "-"}

// TopicHash returns what stands for a topic in a cursor: the first 64 bits of the
// SHA-256 of its name. No two topics have the same by accident. It costs some 100 ns.
func TopicHash(topic notiflux.Topic) uint64 {
	sum := sha256.Sum256([]byte(topic))
	return binary.BigEndian.Uint64(sum[:])
}

// topicHash1 is TopicHash of version 1: FNV-1a.
func topicHash1(topic notiflux.Topic) uint64 {
	h := fnv.New32a()
	_, _ = io.WriteString(h, string(topic)) // it never fails
	return uint64(h.Sum32())
}

// AppendStreamCursor appends the cursor of places, in the order given: that of their
// topics' names, byte by byte. It allocates nothing besides dst.
func AppendStreamCursor(dst []byte, epoch string, offsets []CursorOffset) []byte {
	return appendStreamCursor(dst, cursorVersion, epoch, offsets)
}

func appendStreamCursor(dst []byte, version byte, epoch string, offsets []CursorOffset) []byte {
	var room [maxRawCursorBytes]byte
	b := room[:0]
	if version > 1 {
		b = append(b, versionMark|version)
	}
	b = append(append(b, byte(len(epoch))), epoch...)
	for _, p := range offsets {
		if version == 1 {
			b = binary.BigEndian.AppendUint32(b, uint32(p.Hash))
		} else {
			b = binary.BigEndian.AppendUint64(b, p.Hash)
		}
		b = binary.AppendUvarint(b, p.Offset)
	}
	return base64.RawURLEncoding.AppendEncode(dst, b)
}

// ParseStreamCursor returns the Cursor that s stands for. It accepts what [AppendStreamCursor]
// writes or wrote in version 1, and cursors of other versions, which have no place
// that is covered. Anything else, and what is longer than MaxStreamCursorBytes, is a
// [notiflux.Error] with [notiflux.Malformed].
func ParseStreamCursor(s string) (StreamCursor, error) {
	if len(s) > MaxStreamCursorBytes {
		return StreamCursor{}, notiflux.Errorf(notiflux.Malformed, "the cursor has %d bytes, and the limit is %d", len(s), MaxStreamCursorBytes)
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) == 0 {
		return StreamCursor{}, errMalformedCursor()
	}
	c := StreamCursor{version: 1}
	if b[0]&versionBits == versionMark {
		c.version = b[0] &^ versionBits
		if c.version != cursorVersion {
			return parseUnknown(s, b)
		}
		b = b[1:]
	}
	if !c.parse(b) || string(appendStreamCursor(nil, c.version, c.epoch, c.offsets)) != s {
		// The comparison tells newlines, bits behind the end, and varints longer than
		// need be.
		return StreamCursor{}, errMalformedCursor()
	}
	return c, nil
}

// parse takes the epoch and the places from b, and reports whether they are all of it.
func (c *StreamCursor) parse(b []byte) bool {
	if len(b) == 0 || len(b) < 1+int(b[0]) {
		return false
	}
	places := 1 + int(b[0])
	c.epoch = string(b[1:places])
	if _, err := notiflux.ParsePosition(c.epoch + ":0"); err != nil {
		return false
	}
	hashBytes := 8
	if c.version == 1 {
		hashBytes = 4
	}
	for b = b[places:]; len(b) > 0; {
		if len(b) < hashBytes {
			return false
		}
		var hash uint64
		for _, digit := range b[:hashBytes] {
			hash = hash<<8 | uint64(digit)
		}
		offset, n := binary.Uvarint(b[hashBytes:])
		if n <= 0 {
			return false
		}
		c.offsets = append(c.offsets, CursorOffset{hash, offset})
		b = b[hashBytes+n:]
	}
	return true
}

// parseUnknown returns the cursor of a version that another server wrote.
func parseUnknown(s string, b []byte) (StreamCursor, error) {
	if base64.RawURLEncoding.EncodeToString(b) != s {
		return StreamCursor{}, errMalformedCursor()
	}
	return StreamCursor{unknown: true}, nil
}

func errMalformedCursor() error {
	return notiflux.Errorf(notiflux.Malformed, "the cursor is malformed: send back the last one that the server gave, as it is")
}

// Since returns the position of a topic, and whether the cursor has one. If it cannot
// be told, the position is of an epoch that no server has: it is never covered, and
// the client is told. That is so for each topic of an unknown version, and where two
// topics of the cursor share the hash.
func (c StreamCursor) Since(topic notiflux.Topic) (since notiflux.Position, there bool) {
	if c.unknown {
		return neverCovered, true
	}
	hashOf := TopicHash
	if c.version == 1 {
		hashOf = topicHash1
	}
	hash := hashOf(topic)
	for _, p := range c.offsets {
		if p.Hash != hash {
			continue
		}
		if there {
			return neverCovered, true
		}
		since, there = notiflux.Position{Epoch: c.epoch, Offset: p.Offset}, true
	}
	return since, there
}

// ResumeFrom returns where a topic is to go on, on a server whose positions have epoch:
// where [Cursor.Since] says. A topic that the cursor does not have begins there, with
// the zero position, unless the cursor is of another epoch: such a cursor covers no
// topic at all.
func (c StreamCursor) ResumeFrom(topic notiflux.Topic, epoch string) notiflux.Position {
	since, there := c.Since(topic)
	if !there && c.epoch != epoch {
		return neverCovered
	}
	return since
}
