package rawclient

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/ikornaselur/notiflux"
)

// parseCursor reads a stream cursor of topics, which are in the order of their names:
// the version, the length of the epoch, the epoch, and for each topic the first eight
// bytes of its SHA-256 and its offset as a varint.
func parseCursor(cursor string, topics []notiflux.Topic) (map[notiflux.Topic]notiflux.Position, error) {
	p, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(p) < 2 || p[0] != 130 || len(p) < 2+int(p[1]) {
		return nil, errors.New("no epoch")
	}
	epoch, p := string(p[2:2+p[1]]), p[2+p[1]:]
	at := make(map[notiflux.Topic]notiflux.Position)
	for _, topic := range topics {
		sum := sha256.Sum256([]byte(topic))
		rest, ok := bytes.CutPrefix(p, sum[:8])
		if !ok {
			return nil, fmt.Errorf("%q is not in its place", topic)
		}
		offset, n := binary.Uvarint(rest)
		if n <= 0 {
			return nil, errors.New("no offset")
		}
		at[topic] = notiflux.Position{Epoch: epoch, Offset: offset}
		p = rest[n:]
	}
	if len(p) > 0 {
		return nil, errors.New("more than its topics")
	}
	return at, nil
}
