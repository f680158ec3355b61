package wire_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http/httputil"
	"testing"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// streamed returns everything that a stream of an encoding may write, one by one.
func streamed(e notiflux.Encoding) (all [][]byte) {
	var n wire.Encoder
	bye := wire.Object{Event: "bye", JSON: wire.AppendBye(nil, notiflux.Draining, 0), Retry: 1}
	gap := wire.Object{Event: "gap", JSON: wire.AppendGap(nil, "t", notiflux.Position{Epoch: "E", Offset: 1}), Cursor: []byte("cursor")}
	for _, size := range []int{0, 1, 100, 16_000, 3 << 20} {
		m := &notiflux.Message{Topic: "t", Body: notiflux.Body{Data: bytes.Repeat([]byte("\x00"), size)}} // six bytes each
		frame := n.Encode(m, e)
		own := wire.AppendWithCursor(nil, wire.WithoutCursor(frame, e), e, []byte("another cursor"))
		all = append(all, frame, own, wire.AppendObject(nil, e, gap), []byte(wire.Heartbeat(e)))
	}
	return append(all, wire.AppendObject(nil, e, bye))
}

// A body in chunks is that without them, and each chunk holds one event or line.
func TestChunksAreReadByOthers(t *testing.T) {
	for chunked, e := range map[notiflux.Encoding]notiflux.Encoding{notiflux.SSEChunk: notiflux.SSE, notiflux.NDJSONChunk: notiflux.NDJSON} {
		want, chunks := streamed(e), streamed(chunked)
		for i, chunk := range chunks {
			if head := fmt.Sprintf("%08x\r\n", len(want[i])); string(chunk) != head+string(want[i])+"\r\n" {
				t.Errorf("encoding %d, frame %d: %.100q, want one chunk with %.100q", chunked, i, chunk, want[i])
			}
		}
		body := append(bytes.Join(chunks, nil), wire.LastChunk...)
		got, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(body)))
		if err != nil || !bytes.Equal(got, bytes.Join(want, nil)) {
			t.Errorf("encoding %d: read %d bytes, %v; want %d", chunked, len(got), err, len(bytes.Join(want, nil)))
		}
		if _, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(bytes.Join(chunks, nil)))); err == nil {
			t.Errorf("encoding %d: without the last chunk, the body looks whole", chunked)
		}
	}
}
