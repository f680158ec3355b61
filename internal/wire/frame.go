package wire

import "github.com/ikornaselur/notiflux/internal/wsframe"

// HeaderRoom is the length in bytes of the longest frame header that a server sends.
const HeaderRoom = wsframe.MaxServerHeader

// AppendText appends a text message as one frame.
func AppendText(dst, text []byte) []byte { return wsframe.AppendFrame(dst, wsframe.Text, text) }

// AppendRoomForHeader appends [HeaderRoom] bytes, which [Fragment] fills.
func AppendRoomForHeader(dst []byte) []byte { return append(dst, make([]byte, HeaderRoom)...) }

// Fragment returns a frame with a part or all of a text message (RFC 6455, section 5.4).
// buffer consists of the room from [AppendRoomForHeader] and the part. Fragment writes the
// header at the end of the room, and returns the tail of buffer from there.
func Fragment(buffer []byte, first, last bool) []byte {
	h := wsframe.Header{First: byte(wsframe.Continuation), Length: int64(len(buffer) - HeaderRoom)}
	if first {
		h.First = byte(wsframe.Text)
	}
	if last {
		h.First |= wsframe.Fin
	}
	var room [HeaderRoom]byte
	header := h.Append(room[:0])
	frame := buffer[HeaderRoom-len(header):]
	copy(frame, header)
	return frame
}
