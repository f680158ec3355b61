package memory

import (
	"crypto/rand"
	mathrand "math/rand/v2"
)

// epochLetters is the length of an epoch. It holds 60 random bits, so in practice no two
// epochs are equal.
const epochLetters = 12

// NewEpoch returns a random epoch. With a new epoch at each start, clients see a restart
// as a gap and never as continuity. If random is nil, it uses crypto/rand.
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
