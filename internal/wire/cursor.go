package wire

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash/fnv"
	"io"

	"github.com/ikornaselur/notiflux"
)

// MaxStreamCursorBytes is the largest length of a stream cursor that the server accepts. A
// cursor of 64 topics always fits.
const MaxStreamCursorBytes = 2048

// maxRawCursorBytes is the largest size of a cursor of 64 topics before base64.
const maxRawCursorBytes = 2 + 64 + 64*(8+binary.MaxVarintLen64)

// A StreamCursor says how far a client of a stream or a poll is in each of its topics, all
// of one epoch. Clients keep it as an opaque text and send it back. The text is base64url
// without padding of
//
//	1 byte    128 + version, which is 2
//	1 byte    length of the epoch
//	n bytes   epoch
//	then for each topic
//	8 bytes   TopicHash, most significant byte first
//	1–10      offset as an unsigned varint (encoding/binary)
//
// The server accepts version 1 forever, but no longer writes it. It begins with the length
// of the epoch, 1 to 64, and has 4 bytes for a topic: the FNV-1a hash of its name. There
// can be 64 versions: first bytes from 192 on are malformed.
type StreamCursor struct {
	version byte
	unknown bool // this server does not know the version
	epoch   string
	offsets []CursorOffset
}

// A CursorOffset is the offset up to which a client has the messages of one topic.
type CursorOffset struct {
	Hash   uint64 // TopicHash
	Offset uint64
}

const (
	cursorVersion = 2

	// The first byte holds the version if these bits of it are versionMark.
	versionBits = 0xc0
	versionMark = 0x80
)

// neverCovered is a position that no server covers: its epoch is invalid.
var neverCovered = notiflux.Position{Epoch: "-"}

// TopicHash returns the hash that identifies a topic in a cursor: the first 64 bits of the
// SHA-256 of its name. Two topics do not collide by accident. It costs about 100 ns.
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

// AppendStreamCursor appends the text of a cursor. The offsets must be in byte order of the
// names of their topics. It allocates nothing besides dst.
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

// ParseStreamCursor parses the text of a cursor. It accepts the output of
// [AppendStreamCursor] in versions 1 and 2. It also accepts cursors of unknown versions,
// which cover no topic. For any other text, or one longer than MaxStreamCursorBytes, it
// returns a [notiflux.Error] with [notiflux.Malformed].
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
		// The comparison finds newlines, unused bits that are set, and varints that are
		// longer than necessary.
		return StreamCursor{}, errMalformedCursor()
	}
	return c, nil
}

// parse parses the epoch and the offsets, and reports whether b is well-formed.
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

// parseUnknown returns a cursor of an unknown version.
func parseUnknown(s string, b []byte) (StreamCursor, error) {
	if base64.RawURLEncoding.EncodeToString(b) != s {
		return StreamCursor{}, errMalformedCursor()
	}
	return StreamCursor{unknown: true}, nil
}

func errMalformedCursor() error {
	return notiflux.Errorf(notiflux.Malformed, "the cursor is malformed: send back the last one that the server gave, as it is")
}

// Since returns the position of a topic, and whether the cursor has one. If the version is
// unknown, or two topics of the cursor share the hash, the position is one that no server
// covers. So the client learns that messages may be missing.
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

// ResumeFrom returns the position from which a topic continues on a server with the given
// epoch. It is the position of [StreamCursor.Since]. For a topic that the cursor does not
// have it is the zero position, or one that no server covers if the cursor is of another
// epoch.
func (c StreamCursor) ResumeFrom(topic notiflux.Topic, epoch string) notiflux.Position {
	since, there := c.Since(topic)
	if !there && c.epoch != epoch {
		return neverCovered
	}
	return since
}
