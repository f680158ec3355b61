package frametest

import (
	"io"

	"github.com/gobwas/ws"
)

// ReadFrame reads one whole frame as it stands. It trusts the announced length,
// which is for tests only.
func ReadFrame(r io.Reader) (ws.Frame, error) {
	h, err := ws.ReadHeader(r)
	if err != nil {
		return ws.Frame{}, err
	}
	payload := make([]byte, h.Length)
	_, err = io.ReadFull(r, payload)
	return ws.Frame{Header: h, Payload: payload}, err
}
