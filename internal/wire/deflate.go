package wire

import (
	"bytes"
	"compress/flate"

	"github.com/ikornaselur/notiflux/internal/wsframe"
)

const (
	// DeflateAnswer is what the server says to an offer of permessage-deflate
	// that it takes (RFC 7692 section 7.1): every message is compressed on its
	// own, so that one frame serves all clients, and none of them owns a window.
	DeflateAnswer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

	// DeflateTail is what a sender takes off the end of a compressed message,
	// and a receiver puts there again (RFC 7692 section 7.2.1): the last bytes
	// of an empty block without compression.
	DeflateTail = "\x00\x00\xff\xff"
)

const (
	// minDeflateBytes is below what a payload is not worth compressing: with a
	// window of its own it hardly shrinks, and fits one packet anyway.
	minDeflateBytes = 128

	// keepDeflateBytes is the most that a Deflater keeps for the next frame.
	keepDeflateBytes = 64 << 10
)

// A Deflater writes frames for clients that permessage-deflate was agreed with.
// The zero value is ready. With its first frame it comes to own about 1 MB,
// which it uses again, and so it is for one goroutine.
type Deflater struct {
	writer *flate.Writer // nil: nothing was compressed yet
	out    bytes.Buffer  // what writer wrote
}

// Deflate returns frame, an unmasked frame of a whole message, with its payload compressed
// if that makes it shorter. Otherwise it returns frame itself, also if it is not one whole
// frame.
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
		// The fastest level: its state is small to reset, which is what a short
		// message costs most of, and it finds most of what JSON repeats. The
		// level is a constant, so there is no error.
		d.writer, _ = flate.NewWriter(&d.out, flate.BestSpeed)
	} else {
		d.writer.Reset(&d.out)
	}
	// Writing to a buffer does not fail.
	_, _ = d.writer.Write(p)
	_ = d.writer.Flush()
	return d.out.Bytes()[:d.out.Len()-len(DeflateTail)]
}
