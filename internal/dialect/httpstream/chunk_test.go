package httpstream

import (
	"bytes"
	"fmt"
	"io"
	"net/http/httputil"
	"testing"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// streamed returns everything that a stream may write, one by one.
func streamed(d *dialect) (all [][]byte) {
	bye := object{event: "bye", json: wire.AppendBye(nil, pubsub.Draining, 0), retry: 1}
	gap := object{event: "gap", json: wire.AppendGap(nil, "t", pubsub.Position{Epoch: "E", Offset: 1}), cursor: []byte("cursor")}
	for _, size := range []int{0, 1, 100, 16_000, 3 << 20} {
		frame := d.encode(size)
		own := d.AppendWithCursor(nil, frame, []byte("another cursor"))
		all = append(all, frame, own, d.appendObject(nil, gap), d.heartbeat())
	}
	return append(all, d.appendObject(nil, bye))
}

// A chunked body has the same content as one without chunks, and each chunk holds one event
// or line.
func TestChunksAreReadByOthers(t *testing.T) {
	for _, x := range []syntax{sse, ndjson} {
		want, chunks := streamed(&dialect{x, false}), streamed(&dialect{x, true})
		for i, chunk := range chunks {
			if head := fmt.Sprintf("%08x\r\n", len(want[i])); string(chunk) != head+string(want[i])+"\r\n" {
				t.Errorf("syntax %d, frame %d: %.100q, want one chunk with %.100q", x, i, chunk, want[i])
			}
		}
		body := append(bytes.Join(chunks, nil), wire.LastChunk...)
		got, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(body)))
		if err != nil || !bytes.Equal(got, bytes.Join(want, nil)) {
			t.Errorf("syntax %d: read %d bytes, %v; want %d", x, len(got), err, len(bytes.Join(want, nil)))
		}
		if _, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(bytes.Join(chunks, nil)))); err == nil {
			t.Errorf("syntax %d: without the last chunk, the body looks whole", x)
		}
	}
}
