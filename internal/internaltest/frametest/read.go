package frametest

import (
	"fmt"
	"io"
	"math"

	"github.com/ikornaselur/notiflux/internal/wsframe"
)

// ReadFrame reads one whole frame. It trusts the announced length, which is for tests
// only.
func ReadFrame(r io.Reader) (wsframe.Frame, error) { return wsframe.Read(r, math.MaxInt64) }

// WriteText writes a text message of a client.
func WriteText(w io.Writer, s string) error {
	_, err := w.Write(Text(s))
	return err
}

// A ClosedError is a close frame that [ReadText] met.
type ClosedError struct {
	Code   uint16
	Reason string
}

func (e *ClosedError) Error() string { return fmt.Sprintf("closed with %d %s", e.Code, e.Reason) }

// ReadText reads the next text message of a server. It joins fragments and answers pings.
// A close frame is a [ClosedError], any other data an error.
func ReadText(conn io.ReadWriter) (string, error) {
	var text []byte
	for begun := false; ; {
		f, err := ReadFrame(conn)
		switch {
		case err != nil:
			return "", err
		case f.Opcode() == wsframe.Ping:
			if _, err := conn.Write(Frame(0x8a, string(f.Payload))); err != nil {
				return "", err
			}
		case f.Opcode() == wsframe.Pong:
		case f.Opcode() == wsframe.Close:
			code, reason := wsframe.ParseClose(f.Payload)
			return "", &ClosedError{code, string(reason)}
		case f.Masked || f.RSV() != 0 || (f.Opcode() == wsframe.Continuation) != begun || f.Opcode() > wsframe.Text:
			return "", fmt.Errorf("a frame of no text message: %+v", f.Header)
		default:
			if text, begun = append(text, f.Payload...), true; f.Fin() {
				return string(text), nil
			}
		}
	}
}
