package wire_test

import (
	"bytes"
	"testing"

	"github.com/ikornaselur/notiflux/internal/wire"
	"github.com/ikornaselur/notiflux/internal/wsframe"
)

// The fragments of a text add up to the text, and each frame is the tail of its buffer.
func TestFragment(t *testing.T) {
	for _, size := range []int{0, 125, 126, 65535, 65536} {
		part := bytes.Repeat([]byte("x"), size)
		for i, want := range []wsframe.Header{
			{First: 0x01}, {First: 0x00}, {First: 0x80}, {First: 0x81},
		} {
			buffer := append(wire.AppendRoomForHeader(nil), part...)
			frame := wire.Fragment(buffer, want.Opcode() == wsframe.Text, want.Fin())
			want.Length = int64(size)
			got, err := wsframe.Read(bytes.NewReader(frame), int64(size))
			if err != nil || got.Header != want || !bytes.Equal(got.Payload, part) || &frame[len(frame)-1] != &buffer[len(buffer)-1] {
				t.Errorf("fragment %d of %d bytes is read as %+v, %v, want %+v", i, size, got.Header, err, want)
			}
		}
	}
}
