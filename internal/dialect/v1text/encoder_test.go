package v1text

import (
	"bytes"
	"testing"

	"github.com/ikornaselur/notiflux/internal/internaltest/frametest"
	"github.com/ikornaselur/notiflux/internal/internaltest/vectors"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/wsframe"
)

func TestTextIsOneFrame(t *testing.T) {
	for _, size := range []int{0, 1, 125, 126, 127, 65535, 65536, 100_000} {
		data := bytes.Repeat([]byte("x"), size)
		entry := vectors.Entry(&pubsub.Message{Body: pubsub.Body{Data: data}})
		frame, err := frametest.ReadFrame(bytes.NewReader(newEncoder().Encode(entry)))
		if err != nil || !frame.Fin() || frame.Masked || frame.Opcode() != wsframe.Text || !bytes.Equal(frame.Payload, data) {
			t.Errorf("a message of %d bytes reads as %+v, %v", size, frame.Header, err)
		}
	}
}

func TestPresenceEventsHaveNoFrame(t *testing.T) {
	entry := vectors.Entry(&pubsub.Message{Presence: &pubsub.PresenceEvent{Topic: "t"}})
	if frame := newEncoder().Encode(entry); frame != nil {
		t.Errorf("a presence event is encoded as %q", frame)
	}
}
