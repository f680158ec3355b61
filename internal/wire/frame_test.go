package wire_test

import (
	"bytes"
	"testing"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/internaltest/frametest"
	"github.com/ikornaselur/notiflux/internal/wire"
	"github.com/ikornaselur/notiflux/internal/wsframe"
)

func TestTextIsOneFrame(t *testing.T) {
	for _, size := range []int{0, 1, 125, 126, 127, 65535, 65536, 100_000} {
		data := bytes.Repeat([]byte("x"), size)
		m := &notiflux.Message{Body: notiflux.Body{Data: data}}
		frame, err := frametest.ReadFrame(bytes.NewReader(new(wire.Encoder).Encode(m, notiflux.Text)))
		if err != nil || !frame.Fin() || frame.Masked || frame.Opcode() != wsframe.Text || !bytes.Equal(frame.Payload, data) {
			t.Errorf("a message of %d bytes is read as %+v, %v", size, frame.Header, err)
		}
	}
}

// A text in fragments is the text, and each frame is the end of its buffer.
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
