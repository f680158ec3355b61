package client

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// maxEventBytes bounds an event: a message as large as any server takes, which
// grows as a JSON string.
const maxEventBytes = frameOverhead + frameGrowth*8<<20

var errEventTooLarge = errors.New("an event of the stream is larger than any message")

// An eventReader reads the data of server-sent events (HTML standard, section
// 9.2.6), as far as notiflux servers use them: lines end with a line feed, with
// or without a carriage return before it.
type eventReader struct {
	lines *bufio.Reader
	heard func() // called for each piece of the stream
	line  []byte
	data  []byte
}

func newEventReader(r io.Reader, heard func()) *eventReader {
	return &eventReader{lines: bufio.NewReader(r), heard: heard}
}

// next returns the data of the next event that has any. Its bytes are valid until
// the next call. An event that the end of the stream cuts off is none.
func (r *eventReader) next() ([]byte, error) {
	r.data = r.data[:0]
	if cap(r.data) > keptBuffer {
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
			return nil, errEventTooLarge
		}
	}
}

// readLine returns the next line without its end.
func (r *eventReader) readLine() ([]byte, error) {
	r.line = r.line[:0]
	if cap(r.line) > keptBuffer {
		r.line = nil
	}
	for {
		piece, err := r.lines.ReadSlice('\n')
		r.heard()
		if r.line = append(r.line, piece...); len(r.line) > maxEventBytes {
			return nil, errEventTooLarge
		}
		switch {
		case err == nil:
			return bytes.TrimSuffix(r.line[:len(r.line)-1], []byte{'\r'}), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}
