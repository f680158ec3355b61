package wire

import "github.com/ikornaselur/notiflux"

// Over HTTP/1.1 the body of a stream is chunked (RFC 9112 section 7.1). Each SSE event and
// each NDJSON line is a chunk:
//
//	8 bytes   the size of the data, in hexadecimal digits with zeros in front
//	CR LF
//	n bytes   data
//	CR LF
//
// The size has a fixed width, so the data always begins at the same offset. A client
// without chunks (HTTP/1.0, HTTP/2) gets a part of the same frame. A session that writes
// its own stream cursor only changes the digits.
const (
	chunkDigits  = 8
	chunkHeader  = chunkDigits + len("\r\n")
	chunkTrailer = len("\r\n")

	// LastChunk ends the body of a stream in order. A client that gets the end of the
	// connection without it knows that the stream was cut.
	LastChunk = "0\r\n\r\n"
)

// CachedEncoding returns the encoding of the cached frames for clients of encoding e.
// Streams without chunks use the frames with chunks, see [FrameFor].
func CachedEncoding(e notiflux.Encoding) notiflux.Encoding {
	switch e {
	case notiflux.SSE:
		return notiflux.SSEChunk
	case notiflux.NDJSON:
		return notiflux.NDJSONChunk
	}
	return e
}

// FrameFor returns the bytes for a client of encoding e from a frame in encoding
// [CachedEncoding](e): the frame, or a part of it that shares its memory.
func FrameFor(frame []byte, e notiflux.Encoding) []byte {
	if e < notiflux.Encodings {
		return frame
	}
	return frame[chunkHeader : len(frame)-chunkTrailer]
}

// InsideChunk returns the data of a chunk of this form. It is not a copy.
func InsideChunk(chunk []byte) []byte { return chunk[chunkHeader : len(chunk)-chunkTrailer] }

func isChunk(e notiflux.Encoding) bool {
	return e == notiflux.SSEChunk || e == notiflux.NDJSONChunk
}

// dataOf returns the encoding of the data inside chunks of encoding e.
func dataOf(e notiflux.Encoding) notiflux.Encoding {
	if e == notiflux.SSEChunk {
		return notiflux.SSE
	}
	return notiflux.NDJSON
}

// openChunk appends the header of a chunk with a size of 0. The caller appends the data and
// then calls closeChunk.
func openChunk(dst []byte) []byte { return append(dst, "00000000\r\n"...) }

// closeChunk ends the chunk that begins at dst[at] and sets its size. Data is far below the
// limit of 4 GiB.
func closeChunk(dst []byte, at int) []byte {
	size := len(dst) - at - chunkHeader
	for i := chunkDigits - 1; i >= 0; i-- {
		dst[at+i] = "0123456789abcdef"[size&0xf]
		size >>= 4
	}
	return append(dst, "\r\n"...)
}
