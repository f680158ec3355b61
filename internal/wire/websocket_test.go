package wire_test

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/internaltest/frametest"
	"github.com/ikornaselur/notiflux/internal/wire"
)

func TestFramesAreReadByOthers(t *testing.T) {
	for _, size := range []int{0, 1, 125, 126, 127, 65535, 65536, 100_000} {
		data := bytes.Repeat([]byte("x"), size)
		m := &notiflux.Message{Body: notiflux.Body{Data: data}}
		frame, err := frametest.ReadFrame(bytes.NewReader(new(wire.Encoder).Encode(m, notiflux.Text)))
		if err != nil || !frame.Header.Fin || frame.Header.Masked || frame.Header.OpCode != ws.OpText || !bytes.Equal(frame.Payload, data) {
			t.Errorf("a message of %d bytes is read as %+v, %v", size, frame.Header, err)
		}
	}
}

func TestAppendClose(t *testing.T) {
	for _, reason := range []string{"", "bye", strings.Repeat("x", 123), strings.Repeat("x", 124), strings.Repeat("é", 100)} {
		frame, err := frametest.ReadFrame(bytes.NewReader(wire.AppendClose(nil, wire.CloseTooSlow, reason)))
		if err != nil {
			t.Fatal(err)
		}
		code, got := ws.ParseCloseFrameData(frame.Payload)
		if frame.Header.Length > 125 || code != 4202 || !strings.HasPrefix(reason, got) || !utf8.ValidString(got) || len(reason)-len(got) > max(0, len(reason)-122) {
			t.Errorf("close with a reason of %d bytes: %d, %q", len(reason), code, got)
		}
	}
}
