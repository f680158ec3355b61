package rawclient

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
)

// Handshake is the request that opens a WebSocket, without the empty line at its end.
const Handshake = "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

// JSONProtocol is the header line that asks for the JSON protocol.
const JSONProtocol = "Sec-WebSocket-Protocol: notiflux.v1.json\r\n"

// Upgrade opens a WebSocket, with further header lines, each with its CRLF. It reads
// no byte behind the answer from the connection, except into R.
func (c *Conn) Upgrade(more string) error {
	if _, err := io.WriteString(c, Handshake+more+"\r\n"); err != nil {
		return err
	}
	_, err := c.Head(101)
	return err
}

// OpenJSON opens a WebSocket for the JSON protocol, up to the welcome.
func (c *Conn) OpenJSON(more string) error {
	if err := c.Upgrade(JSONProtocol + more); err != nil {
		return err
	}
	if m, err := c.Object(); err != nil {
		return err
	} else if m.Type != "welcome" {
		return fmt.Errorf("first came %+v", m)
	}
	return nil
}

// Say sends a text message of at most 65,535 bytes.
func (c *Conn) Say(message string) error { return c.send(0x81, message) }

// send sends a frame with a first byte.
func (c *Conn) send(first byte, payload string) error {
	frame := binary.BigEndian.AppendUint16([]byte{first, 0x80 | 126}, uint16(len(payload)))
	if len(payload) < 126 { // The longer form would be refused.
		frame = []byte{first, 0x80 | byte(len(payload))}
	}
	frame = append(frame, 0, 0, 0, 0) // A mask that changes nothing.
	_, err := c.Write(append(frame, payload...))
	return err
}

// Command sends a command of the JSON protocol.
func (c *Conn) Command(command map[string]any) error {
	data, err := json.Marshal(command)
	if err != nil {
		return err
	}
	return c.Say(string(data))
}

// Message reads a text message of one frame of at most 65,535 bytes. It answers the pings
// before it.
func (c *Conn) Message() (string, error) {
	for {
		first, payload, err := c.frame()
		switch {
		case err != nil:
			return "", err
		case first == 0x81:
			return payload, nil
		case first == 0x89:
			if err := c.send(0x8a, payload); err != nil {
				return "", err
			}
		case first == 0x88:
			return "", fmt.Errorf("%w with the close frame %q", ErrEnded, payload)
		default:
			return "", fmt.Errorf("a frame of %d bytes begins with %x", len(payload), first)
		}
	}
}

// frame reads a frame, and returns its first byte.
func (c *Conn) frame() (first byte, payload string, err error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(c.R, head[:2]); err != nil {
		return 0, "", ended(err)
	}
	length := int(head[1])
	switch {
	case length > 126:
		return 0, "", fmt.Errorf("a frame that begins with %x", head[:2])
	case length == 126:
		if _, err := io.ReadFull(c.R, head[2:]); err != nil {
			return 0, "", ended(err)
		}
		length = int(binary.BigEndian.Uint16(head[2:]))
	}
	data := make([]byte, length)
	_, err = io.ReadFull(c.R, data)
	return head[0], string(data), ended(err)
}

// Object reads a message of the JSON protocol.
func (c *Conn) Object() (Object, error) {
	text, err := c.Message()
	if err != nil {
		return Object{}, err
	}
	return ParseObject([]byte(text))
}
