package wire

// Over HTTP/1.1 the body of a stream is chunked (RFC 9112 section 7.1). Each SSE event and
// each NDJSON line is a chunk:
//
//	8 bytes   the size of the data, in hexadecimal digits with zeros in front
//	CR LF
//	n bytes   data
//	CR LF
//
// The size has a fixed width, so the data always begins at the same offset. For a client
// without chunks (HTTP/1.0, HTTP/2) the server sends only the data of the same frame. A
// session that appends its own stream cursor only changes the digits.
const (
	chunkDigits = 8

	// ChunkFront and ChunkBack are the bytes of a chunk before and after its data.
	ChunkFront = chunkDigits + len("\r\n")
	ChunkBack  = len("\r\n")

	// LastChunk ends the body of a stream. If the connection ends without it, the client
	// knows that the stream was cut off.
	LastChunk = "0\r\n\r\n"
)

// InsideChunk returns the data of a chunk in this form, without copying it.
func InsideChunk(chunk []byte) []byte { return chunk[ChunkFront : len(chunk)-ChunkBack] }

// OpenChunk appends the header of a chunk with a size of 0. The caller appends the data and
// then calls CloseChunk.
func OpenChunk(dst []byte) []byte { return append(dst, "00000000\r\n"...) }

// CloseChunk ends the chunk that begins at dst[at], and sets its size. The data must be
// shorter than 4 GiB.
func CloseChunk(dst []byte, at int) []byte {
	size := len(dst) - at - ChunkFront
	for i := chunkDigits - 1; i >= 0; i-- {
		dst[at+i] = "0123456789abcdef"[size&0xf]
		size >>= 4
	}
	return append(dst, "\r\n"...)
}
