package wire

import (
	"encoding/base64"
	"encoding/binary"
	"slices"
)

// maxRawEpochsCursorBytes is the largest size of a cursor of version 3 before base64.
const maxRawEpochsCursorBytes = MaxStreamCursorBytes / 4 * 3

// maxEpochBytes is what the epochs of a cursor of version 3 may take, with their lengths:
// what 64 topics leave of it.
const maxEpochBytes = maxRawEpochsCursorBytes - 2 - 64*(8+1+10)

// maxEpoch is the largest length of an epoch.
const maxEpoch = 64

// An epochTable is the epochs of a cursor. Its first ones are those of the first topics.
type epochTable struct {
	epochs [maxEpochBytes / 2]string
	n      int
	bytes  int // what the epochs take, with their lengths
}

// fill takes the epochs of places up to the first one that does not fit.
func (t *epochTable) fill(places []CursorPlace) {
	for i := range places {
		epoch := places[i].Position.Epoch
		if t.number(epoch) != 0 {
			continue
		}
		if epoch == neverCovered.Epoch || t.bytes+1+len(epoch) > maxEpochBytes {
			return // neverCovered stands for one that did not fit.
		}
		t.epochs[t.n] = epoch
		t.n++
		t.bytes += 1 + len(epoch)
	}
}

// full reports whether there is an epoch that does not fit into the table.
func (t *epochTable) full() bool { return t.bytes+1+maxEpoch > maxEpochBytes }

// number returns the number of an epoch in a cursor; 0: it is not in the table.
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

// appendCursorOfEpochs appends a cursor of places in several epochs: version 3.
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

// canonicalEpochs reports whether s is what the server writes for places in version 3: it
// uses that version only for several epochs, and leaves an epoch out only if it does not fit.
func canonicalEpochs(s string, places []CursorPlace) bool {
	var table epochTable
	table.fill(places)
	lost := slices.ContainsFunc(places, func(p CursorPlace) bool { return p.Position.Epoch == neverCovered.Epoch })
	return table.n > 1 && (table.full() || !lost) && string(appendEpochsCursor(nil, &table, places)) == s
}
