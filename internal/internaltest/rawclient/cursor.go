package rawclient

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// parseCursor reads a stream cursor of topics, which are in the order of their names:
// 130, the length of the epoch, the epoch, and for each topic the first eight bytes of its
// SHA-256 and its offset as a varint. If the topics are in several epochs, it is 131, how
// many, the length of each and itself, and before each offset the number of its epoch.
func parseCursor(cursor string, topics []pubsub.Topic) (map[pubsub.Topic]pubsub.Position, error) {
	p, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(p) < 2 || p[0] != 130 && p[0] != 131 {
		return nil, errors.New("neither version 2 nor 3")
	}
	several, n := p[0] == 131, byte(1)
	if p = p[1:]; several {
		n, p = p[0], p[1:]
	}
	var epochs []string
	for range n {
		if len(p) == 0 || len(p) <= int(p[0]) {
			return nil, errors.New("no epoch")
		}
		epochs, p = append(epochs, string(p[1:1+p[0]])), p[1+p[0]:]
	}
	at := make(map[pubsub.Topic]pubsub.Position)
	for _, topic := range topics {
		sum := sha256.Sum256([]byte(topic))
		rest, ok := bytes.CutPrefix(p, sum[:8])
		if !ok {
			return nil, fmt.Errorf("%q is not in its place", topic)
		}
		epoch := epochs[0]
		if several {
			if len(rest) == 0 || rest[0] == 0 || int(rest[0]) > len(epochs) {
				return nil, fmt.Errorf("%q is in none of %d epochs", topic, len(epochs))
			}
			epoch, rest = epochs[rest[0]-1], rest[1:]
		}
		offset, n := binary.Uvarint(rest)
		if n <= 0 {
			return nil, errors.New("no offset")
		}
		at[topic] = pubsub.Position{Epoch: epoch, Offset: offset}
		p = rest[n:]
	}
	if len(p) > 0 {
		return nil, errors.New("more than its topics")
	}
	return at, nil
}
