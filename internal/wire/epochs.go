package wire

import (
	"encoding/base64"
	"encoding/binary"
	"slices"
)

// maxRawEpochsCursorBytes is the maximum size of a cursor of version 3 before base64.
const maxRawEpochsCursorBytes = MaxStreamCursorBytes / 4 * 3

// maxEpochBytes limits the epochs of a cursor of version 3, with their lengths: what
// remains after 64 topics.
const maxEpochBytes = maxRawEpochsCursorBytes - 2 - 64*(8+1+10)

// maxEpoch is the maximum length of an epoch.
const maxEpoch = 64

// An epochTable holds the epochs of a cursor, in the order in which its topics first use
// them.
type epochTable struct {
	epochs [maxEpochBytes / 2]string
	n      int
	bytes  int // size of the epochs, with their lengths
}

// fill adds the epochs of places, up to the first one that does not fit.
func (t *epochTable) fill(places []CursorPlace) {
	for i := range places {
		epoch := places[i].Position.Epoch
		if t.number(epoch) != 0 {
			continue
		}
		if epoch == NeverCovered.Epoch || t.bytes+1+len(epoch) > maxEpochBytes {
			return // NeverCovered replaces an epoch that did not fit
		}
		t.epochs[t.n] = epoch
		t.n++
		t.bytes += 1 + len(epoch)
	}
}

// full reports whether some epoch would not fit into the table.
func (t *epochTable) full() bool { return t.bytes+1+maxEpoch > maxEpochBytes }

// number returns the number of an epoch in a cursor, or 0 if it is not in the table.
func (t *epochTable) number(epoch string) byte {
	for i, known := range t.epochs[:t.n] {
		if known == epoch {
			return byte(i + 1)
		}
	}
	return 0
}

func (t *epochTable) append(dst []byte) []byte {
	dst = append(dst, byte(t.n))
	for _, epoch := range t.epochs[:t.n] {
		dst = appendEpoch(dst, epoch)
	}
	return dst
}

// appendCursorOfEpochs appends a cursor of version 3, for places in several epochs.
func appendCursorOfEpochs(dst []byte, places []CursorPlace) []byte {
	var table epochTable
	table.fill(places)
	return appendEpochsCursor(dst, &table, places)
}

func appendEpochsCursor(dst []byte, table *epochTable, places []CursorPlace) []byte {
	var room [maxRawEpochsCursorBytes]byte
	b := table.append(append(room[:0], versionMark|cursorVersionEpochs))
	for i := range places {
		b = binary.BigEndian.AppendUint64(b, places[i].Hash)
		b = append(b, table.number(places[i].Position.Epoch))
		b = binary.AppendUvarint(b, places[i].Position.Offset)
	}
	return base64.RawURLEncoding.AppendEncode(dst, b)
}

// canonicalEpochs reports whether s is exactly the text that the server writes for places
// in version 3. The server uses that version only for several epochs, and omits an epoch
// only if it does not fit.
func canonicalEpochs(s string, places []CursorPlace) bool {
	var table epochTable
	table.fill(places)
	lost := slices.ContainsFunc(places, func(p CursorPlace) bool { return p.Position.Epoch == NeverCovered.Epoch })
	return table.n > 1 && (table.full() || !lost) && string(appendEpochsCursor(nil, &table, places)) == s
}
