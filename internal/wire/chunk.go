package wire

import "github.com/ikornaselur/notiflux"

// Over HTTP/1.1 the body of a stream is chunks (RFC 9112 section 7.1). Each event and
// each line is one of its own:
//
//	8 bytes   the size of the data, in hexadecimal digits with zeros in front
//	CR LF
//	n bytes   data
//	CR LF
//
// The width of the size is fixed, so the data always begins at the same place. A
// client without chunks (HTTP/1.0, HTTP/2) is sent a part of the same frame, and a
// session that writes a cursor of its own only has to change the digits.
const (
	chunkDigits  = 8
	chunkHeader  = chunkDigits + len("\r\n")
	chunkTrailer = len("\r\n")
	lastChunk    = "0\r\n\r\n"
)

// CachedEncoding returns the encoding that a log keeps for clients of encoding e: streams
// without chunks have no frames of their own. [FrameFor] returns what such a client gets.
func CachedEncoding(e notiflux.Encoding) notiflux.Encoding {
	switch e {
	case notiflux.SSE:
		return notiflux.SSEChunk
	case notiflux.NDJSON:
		return notiflux.NDJSONChunk
	}
	return e
}

// FrameFor returns what a client of encoding e is sent of a frame in encoding [CachedEncoding](e).
// It is the frame or a part of it, and not a copy.
func FrameFor(frame []byte, e notiflux.Encoding) []byte {
	if e < notiflux.Encodings {
		return frame
	}
	return frame[chunkHeader : len(frame)-chunkTrailer]
}

// LastChunk returns what ends the body of a stream of encoding e in order, behind
// its last frame: nothing unless it has chunks. A client that gets the end of the
// connection without it knows that the stream was cut.
func LastChunk(e notiflux.Encoding) string {
	if isChunk(e) {
		return lastChunk
	}
	return ""
}

func isChunk(e notiflux.Encoding) bool {
	return e == notiflux.SSEChunk || e == notiflux.NDJSONChunk
}

// dataOf returns the encoding of what is in the chunks of e.
func dataOf(e notiflux.Encoding) notiflux.Encoding {
	if e == notiflux.SSEChunk {
		return notiflux.SSE
	}
	return notiflux.NDJSON
}

// openChunk appends room for the header of a chunk. The data follows, then closeChunk.
func openChunk(dst []byte) []byte { return append(dst, "00000000\r\n"...) }

// closeChunk ends the chunk that begins at a place in dst, and sets its size. The
// data of a chunk is far below its limit of 4 GiB.
func closeChunk(dst []byte, at int) []byte {
	size := len(dst) - at - chunkHeader
	for i := chunkDigits - 1; i >= 0; i-- {
		dst[at+i] = "0123456789abcdef"[size&0xf]
		size >>= 4
	}
	return append(dst, "\r\n"...)
}
