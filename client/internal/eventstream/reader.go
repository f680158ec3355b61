package eventstream

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"github.com/ikornaselur/notiflux/client/internal/wire"
)

// maxEventBytes bounds an event: the largest message that any server accepts, as a JSON
// string.
const maxEventBytes = wire.FrameOverhead + wire.FrameGrowth*8<<20

// A reader reads the data of server-sent events (HTML standard, section 9.2.6), as far as
// notiflux servers use them: lines end with a line feed, with or without a carriage return
// before it.
type reader struct {
	lines *bufio.Reader
	heard func()
	line  []byte
	data  []byte
}

// newReader returns a reader of r. It calls heard for each piece that it reads from r.
func newReader(r io.Reader, heard func()) *reader {
	return &reader{lines: bufio.NewReader(r), heard: heard}
}

// next returns the data of the next event that has any. The bytes are valid until the next
// call. An incomplete event at the end of the stream is ignored.
func (r *reader) next() ([]byte, error) {
	if r.data = r.data[:0]; cap(r.data) > wire.KeptBuffer {
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
			continue // a comment, or a field that the data makes superfluous
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
func (r *reader) readLine() ([]byte, error) {
	if r.line = r.line[:0]; cap(r.line) > wire.KeptBuffer {
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
