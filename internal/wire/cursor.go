package wire

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash/fnv"
	"io"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// MaxStreamCursorBytes is the maximum length of a stream cursor. A cursor for 64 topics
// always fits.
const MaxStreamCursorBytes = 2048

// maxRawCursorBytes is the maximum size, before base64, of a cursor for 64 topics in one
// epoch.
const maxRawCursorBytes = 2 + 64 + 64*(8+binary.MaxVarintLen64)

// A StreamCursor says how far a client of a stream or a poll is in each of its topics.
// Clients keep it as opaque text and send it back. The text is unpadded base64url. If all
// topics are in one epoch, it encodes:
//
//	1 byte    128 + version, which is 2
//	1 byte    length of the epoch
//	n bytes   epoch
//	then for each topic
//	8 bytes   TopicHash, most significant byte first
//	1–10      offset as an unsigned varint (encoding/binary)
//
// Topics in several epochs use version 3:
//
//	1 byte    128 + version, which is 3
//	1 byte    number of epochs, then for each
//	1 byte    its length
//	n bytes   epoch
//	then for each topic
//	8 bytes   TopicHash, most significant byte first
//	1 byte    number of its epoch, from 1; 0: the epoch did not fit, so the topic is never covered
//	1–10      offset as an unsigned varint
//
// The server still accepts version 1, but no longer writes it. It begins with the length of
// the epoch, 1 to 64, and each topic has 4 bytes: the FNV-1a hash of its name. There can be
// 64 versions: first bytes from 192 on are malformed.
type StreamCursor struct {
	version byte
	unknown bool // the server does not know the version
	epochs  []string
	places  []CursorPlace // each with one of epochs or that of NeverCovered
}

// A CursorPlace is the position up to which a client has the messages of one topic or pattern.
type CursorPlace struct {
	Hash     uint64 // TopicHash; for a pattern, that of pubsub.Pattern.Topic
	Position pubsub.Position
}

const (
	cursorVersion       = 2
	cursorVersionEpochs = 3

	// The first byte holds the version if its versionBits equal versionMark.
	versionBits = 0xc0
	versionMark = 0x80
)

// NeverCovered is a position that no server covers: its epoch is invalid.
var NeverCovered = pubsub.Position{Epoch: "-"}

// TopicHash returns the hash that identifies a topic in a cursor: the first 64 bits of the
// SHA-256 of its name. Two topics do not collide by accident. It takes about 100 ns.
func TopicHash(topic pubsub.Topic) uint64 {
	sum := sha256.Sum256([]byte(topic))
	return binary.BigEndian.Uint64(sum[:])
}

// topicHash1 is the hash in cursors of version 1: FNV-1a.
func topicHash1(topic pubsub.Topic) uint64 {
	h := fnv.New32a()
	_, _ = io.WriteString(h, string(topic)) // never fails
	return uint64(h.Sum32())
}

// AppendStreamCursor appends the text of a cursor. The places must be in the byte order of
// the names of their topics. Without places it appends nothing. It allocates only to grow
// dst.
func AppendStreamCursor(dst []byte, places []CursorPlace) []byte {
	if len(places) == 0 {
		return dst
	}
	for i := range places {
		if places[i].Position.Epoch != places[0].Position.Epoch {
			return appendCursorOfEpochs(dst, places)
		}
	}
	return appendStreamCursor(dst, cursorVersion, places[0].Position.Epoch, places)
}

// appendStreamCursor appends a cursor of places in one epoch.
func appendStreamCursor(dst []byte, version byte, epoch string, places []CursorPlace) []byte {
	var room [maxRawCursorBytes]byte
	b := room[:0]
	if version > 1 {
		b = append(b, versionMark|version)
	}
	b = appendEpoch(b, epoch)
	for i := range places {
		if version == 1 {
			b = binary.BigEndian.AppendUint32(b, uint32(places[i].Hash))
		} else {
			b = binary.BigEndian.AppendUint64(b, places[i].Hash)
		}
		b = binary.AppendUvarint(b, places[i].Position.Offset)
	}
	return base64.RawURLEncoding.AppendEncode(dst, b)
}

func appendEpoch(dst []byte, epoch string) []byte {
	return append(append(dst, byte(len(epoch))), epoch...)
}

// ParseStreamCursor parses the text of a cursor. It accepts the output of
// [AppendStreamCursor] in versions 1 to 3, and cursors of unknown versions, which cover no
// topic. For any other text, or one longer than MaxStreamCursorBytes, it returns a
// [pubsub.Error] with [pubsub.Malformed].
func ParseStreamCursor(s string) (StreamCursor, error) {
	if len(s) > MaxStreamCursorBytes {
		return StreamCursor{}, pubsub.Errorf(pubsub.Malformed, "the cursor has %d bytes; the limit is %d: send the last cursor that the server sent, unchanged", len(s), MaxStreamCursorBytes)
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) == 0 {
		return StreamCursor{}, errMalformedCursor
	}
	c := StreamCursor{version: 1}
	if b[0]&versionBits == versionMark {
		c.version = b[0] &^ versionBits
		if c.version != cursorVersion && c.version != cursorVersionEpochs {
			if base64.RawURLEncoding.EncodeToString(b) != s {
				return StreamCursor{}, errMalformedCursor
			}
			return StreamCursor{unknown: true}, nil
		}
		b = b[1:]
	}
	if !c.parse(b) || !c.canonical(s) {
		return StreamCursor{}, errMalformedCursor
	}
	return c, nil
}

// canonical reports whether s is exactly the text that the server writes for c. The
// comparison rejects newlines, unused bits that are set, varints that are too long, and a
// table of epochs that the server would not write.
func (c *StreamCursor) canonical(s string) bool {
	if c.version == cursorVersionEpochs {
		return canonicalEpochs(s, c.places)
	}
	return string(appendStreamCursor(nil, c.version, c.epochs[0], c.places)) == s
}

// parse parses the epochs and the places, and reports whether b is well-formed.
func (c *StreamCursor) parse(b []byte) bool {
	epochs := 1
	if c.version == cursorVersionEpochs {
		if len(b) == 0 {
			return false
		}
		epochs, b = int(b[0]), b[1:]
	}
	for range epochs {
		if len(b) == 0 || len(b) < 1+int(b[0]) {
			return false
		}
		epoch := string(b[1 : 1+int(b[0])])
		if _, err := pubsub.ParsePosition(epoch + ":0"); err != nil {
			return false
		}
		c.epochs, b = append(c.epochs, epoch), b[1+int(b[0]):]
	}
	for len(b) > 0 {
		if b = c.parsePlace(b); b == nil {
			return false
		}
	}
	return true
}

// parsePlace parses one place and returns the bytes after it, or nil if b is malformed.
func (c *StreamCursor) parsePlace(b []byte) []byte {
	hashBytes := 8
	if c.version == 1 {
		hashBytes = 4
	}
	if len(b) <= hashBytes {
		return nil
	}
	var p CursorPlace
	for _, digit := range b[:hashBytes] {
		p.Hash = p.Hash<<8 | uint64(digit)
	}
	b = b[hashBytes:]
	number := 1
	if c.version == cursorVersionEpochs {
		number, b = int(b[0]), b[1:]
	}
	switch {
	case number > len(c.epochs):
		return nil
	case number == 0:
		p.Position.Epoch = NeverCovered.Epoch
	default:
		p.Position.Epoch = c.epochs[number-1]
	}
	offset, n := binary.Uvarint(b)
	if n <= 0 {
		return nil
	}
	p.Position.Offset = offset
	c.places = append(c.places, p)
	return b[n:]
}

var errMalformedCursor = pubsub.Errorf(pubsub.Malformed, "the cursor is malformed: send the last cursor that the server sent, unchanged")

// Since returns the position of a topic, and whether the cursor contains the topic. If the
// version is unknown, or two topics of the cursor share the hash, it returns a position
// that no server covers, so that the client learns that messages may be missing.
func (c StreamCursor) Since(topic pubsub.Topic) (since pubsub.Position, there bool) {
	if c.unknown {
		return NeverCovered, true
	}
	hashOf := TopicHash
	if c.version == 1 {
		hashOf = topicHash1
	}
	hash := hashOf(topic)
	for _, p := range c.places {
		if p.Hash != hash {
			continue
		}
		if there {
			return NeverCovered, true
		}
		since, there = p.Position, true
	}
	return since, there
}

// ResumeFrom returns the position from which a topic continues, as [StreamCursor.Since]
// does. If the cursor does not contain the topic, since is zero. The topic must then be in
// one of epochs; otherwise the cursor does not cover it.
func (c StreamCursor) ResumeFrom(topic pubsub.Topic) (since pubsub.Position, epochs []string) {
	since, there := c.Since(topic)
	if there {
		return since, nil
	}
	return pubsub.Position{}, c.epochs
}
