package eventstream

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"github.com/ikornaselur/notiflux/client/internal/wire"
)

// maxEventBytes bounds an event: a message as large as any server takes, which
// grows as a JSON string.
const maxEventBytes = wire.FrameOverhead + wire.FrameGrowth*8<<20

// A Reader reads the data of server-sent events (HTML standard, section
// 9.2.6), as far as notiflux servers use them: lines end with a line feed, with
// or without a carriage return before it.
type Reader struct {
	lines *bufio.Reader
	heard func()
	line  []byte
	data  []byte
}

// NewReader returns a reader of r, which calls heard for each piece of it.
func NewReader(r io.Reader, heard func()) *Reader {
	return &Reader{lines: bufio.NewReader(r), heard: heard}
}

// Next returns the data of the next event that has any. Its bytes are valid until
// the next call. It ignores an event that the end of the stream cuts off.
func (r *Reader) Next() ([]byte, error) {
	r.data = r.data[:0]
	if cap(r.data) > wire.KeptBuffer {
		r.data = nil
	}
	found := false
	for {
		line, err := r.readLine()
		if err != nil {
			return nil, err
		}
		if len(line) == 0 {
			if found {
				return r.data, nil
			}
			continue
		}
		name, value, _ := bytes.Cut(line, []byte{':'})
		if string(name) != "data" {
			continue // a comment, or a field that data repeats or that positions take the place of
		}
		if found {
			r.data = append(r.data, '\n')
		}
		found = true
		if r.data = append(r.data, bytes.TrimPrefix(value, []byte{' '})...); len(r.data) > maxEventBytes {
			return nil, wire.ErrTooLarge
		}
	}
}

// readLine returns the next line without its end.
func (r *Reader) readLine() ([]byte, error) {
	r.line = r.line[:0]
	if cap(r.line) > wire.KeptBuffer {
		r.line = nil
	}
	for {
		piece, err := r.lines.ReadSlice('\n')
		r.heard()
		if r.line = append(r.line, piece...); len(r.line) > maxEventBytes {
			return nil, wire.ErrTooLarge
		}
		switch {
		case err == nil:
			return bytes.TrimSuffix(r.line[:len(r.line)-1], []byte{'\r'}), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}
