package wire

import (
	"bytes"
	"compress/flate"

	"github.com/ikornaselur/notiflux/internal/wsframe"
)

const (
	// DeflateAnswer is the server's answer to an offer of permessage-deflate that it
	// accepts (RFC 7692, section 7.1). Every message is compressed on its own. One frame
	// therefore serves all clients, and no client needs a window in memory.
	DeflateAnswer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

	// DeflateTail is the end of a compressed message that a sender removes and a receiver
	// appends again (RFC 7692, section 7.2.1): the last bytes of an empty block without
	// compression.
	DeflateTail = "\x00\x00\xff\xff"
)

const (
	// minDeflateBytes is the size below which compressing a payload is not worthwhile:
	// without a shared window it hardly shrinks, and it fits into one packet anyway.
	minDeflateBytes = 128

	// keepDeflateBytes is the maximum buffer size that a Deflater keeps for the next frame.
	keepDeflateBytes = 64 << 10
)

// A Deflater compresses frames for clients that negotiated permessage-deflate. The zero
// value is ready. With its first frame it allocates about 1 MB, which it reuses. It is not
// safe for concurrent use.
type Deflater struct {
	writer *flate.Writer // nil until the first frame
	out    bytes.Buffer  // output of writer
}

// Deflate returns frame, an unmasked frame with a whole message, with its payload
// compressed if that makes it shorter. Otherwise, or if frame is not exactly one whole
// frame, it returns frame itself.
func (d *Deflater) Deflate(frame []byte) []byte {
	h, n, ok := wsframe.ParseHeader(frame)
	if ok && h.Length >= minDeflateBytes && h.Length == int64(len(frame)-n) {
		if p := d.deflate(frame[n:]); int64(len(p)) < h.Length {
			return wsframe.Header{First: h.First | wsframe.RSV1}.AppendFrame(nil, p)
		}
	}
	return frame
}

// deflate returns p compressed, valid until the next call.
func (d *Deflater) deflate(p []byte) []byte {
	if d.out.Cap() > keepDeflateBytes {
		d.out = bytes.Buffer{}
	}
	d.out.Reset()
	if d.writer == nil {
		// The fastest level has little state to reset, which is the main cost of a short
		// message, and it finds most repetitions in JSON. The level is a constant, so there
		// is no error.
		d.writer, _ = flate.NewWriter(&d.out, flate.BestSpeed)
	} else {
		d.writer.Reset(&d.out)
	}
	// Writing to a buffer does not fail.
	_, _ = d.writer.Write(p)
	_ = d.writer.Flush()
	return d.out.Bytes()[:d.out.Len()-len(DeflateTail)]
}
