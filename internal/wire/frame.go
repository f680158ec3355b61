package wire

import "github.com/ikornaselur/notiflux/internal/wsframe"

// HeaderRoom is the length of the longest frame header that servers send, in bytes.
const HeaderRoom = wsframe.MaxServerHeader

// AppendText appends a text message in one frame.
func AppendText(dst, text []byte) []byte { return wsframe.AppendFrame(dst, wsframe.Text, text) }

// AppendRoomForHeader appends [HeaderRoom] bytes, for [Fragment] to fill.
func AppendRoomForHeader(dst []byte) []byte { return append(dst, make([]byte, HeaderRoom)...) }

// Fragment returns a frame with a part of a text message, or with all of it (RFC 6455
// section 5.4). buffer is room for the header, from [AppendRoomForHeader], and the part.
// Fragment writes the header into that room: the frame is the end of buffer.
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
