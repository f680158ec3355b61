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
func (c *Conn) Say(message string) error {
	frame := binary.BigEndian.AppendUint16([]byte{0x81, 0x80 | 126}, uint16(len(message)))
	if len(message) < 126 { // The longer form would be refused.
		frame = []byte{0x81, 0x80 | byte(len(message))}
	}
	frame = append(frame, 0, 0, 0, 0) // A mask that changes nothing.
	_, err := c.Write(append(frame, message...))
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

// Message reads a text message of one frame of at most 65,535 bytes.
func (c *Conn) Message() (string, error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(c.R, head[:2]); err != nil {
		return "", ended(err)
	}
	length := int(head[1])
	switch {
	case head[0] == 0x88:
		return "", fmt.Errorf("%w: a close frame", ErrEnded)
	case head[0] != 0x81 || length > 126:
		return "", fmt.Errorf("a frame that begins with %x", head[:2])
	case length == 126:
		if _, err := io.ReadFull(c.R, head[2:]); err != nil {
			return "", ended(err)
		}
		length = int(binary.BigEndian.Uint16(head[2:]))
	}
	data := make([]byte, length)
	_, err := io.ReadFull(c.R, data)
	return string(data), ended(err)
}

// Object reads a message of the JSON protocol.
func (c *Conn) Object() (Object, error) {
	text, err := c.Message()
	if err != nil {
		return Object{}, err
	}
	return ParseObject([]byte(text))
}
