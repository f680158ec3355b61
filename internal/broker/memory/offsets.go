package memory

import (
	"crypto/rand"
	mathrand "math/rand/v2"
	"sync/atomic"
)

// offsets assigns the offsets of all topics from one counter: an offset is a moment in the
// order of the whole server (docs/decisions/0011).
type offsets struct {
	last atomic.Uint64 // the last one assigned
}

// next returns an offset that is higher than any before. It is called under the lock of the
// message's topic, so that the offsets of a topic increase in the order of its log.
func (o *offsets) next() uint64 { return o.last.Add(1) }

// epochLetters is the length of an epoch. It holds 60 random bits, so in practice no two
// epochs are equal.
const epochLetters = 12

// NewEpoch returns a random epoch. With a new epoch at each start, clients see a restart as
// a gap, never as continuity. If random is nil, NewEpoch uses crypto/rand.
func NewEpoch(random *mathrand.Rand) string {
	if random == nil {
		return rand.Text()[:epochLetters]
	}
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	var epoch [epochLetters]byte
	for i := range epoch {
		epoch[i] = letters[random.IntN(len(letters))]
	}
	return string(epoch[:])
}
