package memory

import (
	"crypto/rand"
	mathrand "math/rand/v2"
)

// epochLetters makes a collision of two epochs about as likely as guessing a
// 60-bit number.
const epochLetters = 12

// NewEpoch returns a random epoch, so that a restart is seen as a gap and never
// mistaken for continuity. A nil random is crypto/rand.
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
