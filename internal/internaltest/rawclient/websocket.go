package rawclient

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/ikornaselur/notiflux/internal/wsframe"
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

// Say sends a text message.
func (c *Conn) Say(message string) error { return c.send(0x81, message) }

// send sends a frame with a first byte, and a mask that changes nothing.
func (c *Conn) send(first byte, payload string) error {
	_, err := c.Write(wsframe.Header{First: first, Masked: true}.AppendFrame(nil, []byte(payload)))
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
		f, err := wsframe.Read(c.R, 1<<16-1)
		switch {
		case err != nil:
			return "", ended(err)
		case f.First == 0x81:
			return string(f.Payload), nil
		case f.First == 0x89:
			if err := c.send(0x8a, string(f.Payload)); err != nil {
				return "", err
			}
		case f.First == 0x88:
			return "", fmt.Errorf("%w with the close frame %q", ErrEnded, f.Payload)
		default:
			return "", fmt.Errorf("a frame of %d bytes begins with %x", len(f.Payload), f.First)
		}
	}
}

// Object reads a message of the JSON protocol.
func (c *Conn) Object() (Object, error) {
	text, err := c.Message()
	if err != nil {
		return Object{}, err
	}
	return ParseObject([]byte(text))
}
