package wire

import (
	"encoding/base64"
	"encoding/binary"
)

// maxRawEpochsCursorBytes is the largest size of a cursor of version 3 before base64.
const maxRawEpochsCursorBytes = MaxStreamCursorBytes / 4 * 3

// maxEpochBytes is what the epochs of a cursor of version 3 may take, with their lengths:
// what 64 topics leave of it.
const maxEpochBytes = maxRawEpochsCursorBytes - 2 - 64*(8+1+10)

// An epochTable is the epochs of a cursor. Its first ones are those of the first topics.
type epochTable struct {
	epochs [maxEpochBytes / 2]string
	n      int
}

// fill takes the epochs of places, as many as fit.
func (t *epochTable) fill(places []CursorPlace) {
	left := maxEpochBytes
	for i := range places {
		epoch := places[i].Position.Epoch
		if epoch == neverCovered.Epoch || t.number(epoch) != 0 {
			continue
		}
		if left -= 1 + len(epoch); left < 0 {
			return
		}
		t.epochs[t.n] = epoch
		t.n++
	}
}

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
	var room [maxRawEpochsCursorBytes]byte
	b := table.append(append(room[:0], versionMark|cursorVersionEpochs))
	for i := range places {
		b = binary.BigEndian.AppendUint64(b, places[i].Hash)
		b = append(b, table.number(places[i].Position.Epoch))
		b = binary.AppendUvarint(b, places[i].Position.Offset)
	}
	return base64.RawURLEncoding.AppendEncode(dst, b)
}
