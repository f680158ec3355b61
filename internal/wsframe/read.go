package wsframe

import (
	"errors"
	"fmt"
	"io"
)

// A Frame is a whole frame.
type Frame struct {
	Header
	Payload []byte // not masked
}

// ErrLength means that a header encodes the length in a form that RFC 6455 forbids.
var ErrLength = errors.New("the frame's length is not in its shortest form")

// Read reads exactly one frame. It is for clients that read from a blocking connection: it
// blocks until r has provided the whole frame.
//
// Read refuses a payload over maxBytes without reading it. The error is io.EOF if r ends
// before the frame, and io.ErrUnexpectedEOF if r ends inside it.
func Read(r io.Reader, maxBytes int64) (f Frame, err error) {
	var header [MaxHeader]byte
	have, need, ok := 0, 2, false
	for !ok {
		n, err := io.ReadFull(r, header[have:need])
		if have += n; err != nil {
			return f, inside(err, have)
		}
		f.Header, need, ok = ParseHeader(header[:have])
	}
	switch {
	case f.Length < 0:
		return f, ErrLength
	case f.Length > maxBytes:
		return f, fmt.Errorf("the frame has %d bytes; the limit is %d", f.Length, maxBytes)
	}
	f.Payload = make([]byte, f.Length)
	if _, err := io.ReadFull(r, f.Payload); err != nil {
		return f, inside(err, have)
	}
	if f.Masked {
		Mask(f.Payload, f.Key)
	}
	return f, nil
}

// inside converts a read error in a frame of which have bytes were read.
func inside(err error, have int) error {
	if err == io.EOF && have > 0 {
		return io.ErrUnexpectedEOF
	}
	return err
}
