package wire

import (
	"encoding/base64"
	"encoding/binary"

	"github.com/ikornaselur/notiflux"
)

// MaxCursorBytes is the length of the longest cursor that is read. Places of 64
// topics fit with the longest epoch as long as their offsets are below 2^42,
// and with an epoch of up to 16 bytes below 2^49.
const MaxCursorBytes = 1024

// A Cursor says how far a client stands in a set of topics of one epoch, as a
// short text that it keeps and sends back: base64url without padding of
//
//	1 byte    length of the epoch
//	n bytes   epoch
//	then for each topic
//	4 bytes   TopicHash, most significant byte first
//	1–10      offset as an unsigned varint (encoding/binary)
type Cursor struct {
	epoch  string
	places []CursorPlace
}

// A CursorPlace is how far a client stands in one topic.
type CursorPlace struct {
	Hash   uint32 // TopicHash
	Offset uint64
}

// neverCovered is a position that no server covers: this is no epoch.
var neverCovered = notiflux.Position{Epoch: "-"}

// TopicHash returns what stands for a topic in a cursor: FNV-1a of its bytes.
func TopicHash(topic notiflux.Topic) uint32 {
	// Spelt out, as hash/fnv would allocate.
	h := uint32(2166136261)
	for _, c := range []byte(topic) {
		h = (h ^ uint32(c)) * 16777619
	}
	return h
}

// AppendCursor appends the cursor of places, in the order given: that of their
// topics' names, byte by byte. It allocates nothing besides dst.
func AppendCursor(dst []byte, epoch string, places []CursorPlace) []byte {
	var room [MaxCursorBytes]byte // more than enough for the bytes of the longest
	b := append(append(room[:0], byte(len(epoch))), epoch...)
	for _, p := range places {
		b = binary.BigEndian.AppendUint32(b, p.Hash)
		b = binary.AppendUvarint(b, p.Offset)
	}
	return base64.RawURLEncoding.AppendEncode(dst, b)
}

// ParseCursor returns the Cursor that s stands for. It accepts just what
// [AppendCursor] writes, up to 1 KiB of it: anything else is a
// [notiflux.Error] with [notiflux.Malformed].
func ParseCursor(s string) (Cursor, error) {
	if len(s) > MaxCursorBytes {
		return Cursor{}, notiflux.Errorf(notiflux.Malformed, "the cursor has %d bytes, the most is %d", len(s), MaxCursorBytes)
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) == 0 {
		return Cursor{}, errNoCursor()
	}
	epochEnd := 1 + int(b[0])
	if len(b) < epochEnd {
		return Cursor{}, errNoCursor()
	}
	c := Cursor{epoch: string(b[1:epochEnd])}
	if _, err := notiflux.ParsePosition(c.epoch + ":0"); err != nil {
		return Cursor{}, errNoCursor()
	}
	for b = b[epochEnd:]; len(b) > 0; {
		if len(b) < 4 {
			return Cursor{}, errNoCursor()
		}
		offset, n := binary.Uvarint(b[4:])
		if n <= 0 {
			return Cursor{}, errNoCursor()
		}
		c.places = append(c.places, CursorPlace{binary.BigEndian.Uint32(b), offset})
		b = b[4+n:]
	}
	// Newlines, bits behind the end, varints longer than need be: one comparison
	// tells them all.
	if string(AppendCursor(nil, c.epoch, c.places)) != s {
		return Cursor{}, errNoCursor()
	}
	return c, nil
}

func errNoCursor() error {
	return notiflux.Errorf(notiflux.Malformed, "the cursor is none that this server gave")
}

// Since returns the position of a topic, and whether the cursor has one. When
// two topics of the cursor share the hash, it cannot be told whose place is
// whose: the position is then of an epoch that no server has, so that it is
// never covered, and the client is told.
func (c Cursor) Since(topic notiflux.Topic) (since notiflux.Position, there bool) {
	hash := TopicHash(topic)
	for _, p := range c.places {
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
