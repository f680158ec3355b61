package wsframe

import (
	"crypto/sha1"
	"encoding/base64"
)

// acceptGUID is appended to a key to prove that the server knows the protocol.
const acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" // RFC 6455 section 1.3

// Accept returns the value of Sec-WebSocket-Accept that answers a handshake with this
// Sec-WebSocket-Key (RFC 6455 section 4.2.2). It does not check the key.
func Accept(key string) string {
	sum := sha1.Sum([]byte(key + acceptGUID))
	return base64.StdEncoding.EncodeToString(sum[:])
}
