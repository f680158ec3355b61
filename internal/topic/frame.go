package topic

import "github.com/ikornaselur/notiflux"

// A frame is a message in one encoding. Its entry keeps it for all readers, in a list to
// which each new frame is added at the front.
//
// A reader that keeps a frame and the log that drops the entry swap the same pointer
// atomically. So a frame is either in the list that the log drops, or is not kept, and
// Logs.FrameBytes counts exactly the frames that are kept.
type frame struct {
	// Immutable once it is in a list.
	next     *frame // nil: this is Logs.end
	logs     *Logs
	data     []byte
	encoding notiflux.Encoding
}

// FrameOverhead is what a frame counts besides its data, in bytes.
const FrameOverhead = 48

func (f *frame) size() int64 { return int64(cap(f.data)) + FrameOverhead }

// find returns the frame in encoding from f on, or nil if there is none.
func (f *frame) find(encoding notiflux.Encoding) *frame {
	for ; f != nil; f = f.next {
		if f.encoding == encoding {
			return f
		}
	}
	return nil
}

// Frame returns the message in encoding, as encode returns it. While the log holds the
// message, the first call encodes it and later calls share the result. Once the log has
// dropped the message, every call encodes it, so encode must always return the same bytes.
// Callers must not change the result. Safe for concurrent use.
func (e *Entry) Frame(encoding notiflux.Encoding, encode func(*notiflux.Message, notiflux.Encoding) []byte) []byte {
	head := e.frames.Load()
	if f := head.find(encoding); f != nil {
		return f.data
	}
	data := encode(&e.message, encoding)
	if head == nil {
		return data
	}
	return e.keep(head.logs, encoding, data)
}

// keep adds a frame to the list, unless another reader was faster or the log has dropped
// the entry. It returns the data to use, which may be that of the other reader.
func (e *Entry) keep(logs *Logs, encoding notiflux.Encoding, data []byte) []byte {
	f := &frame{logs: logs, data: data, encoding: encoding}
	logs.frameBytes.Add(f.size()) // Before the log can see the frame and subtract it.
	for {
		head := e.frames.Load()
		other := head.find(encoding)
		if head == nil || other != nil {
			logs.frameBytes.Add(-f.size())
			if other != nil {
				return other.data
			}
			return data
		}
		f.next = head
		if e.frames.CompareAndSwap(head, f) {
			if logs.grown != nil {
				logs.grown()
			}
			return data
		}
	}
}

// dropFrames drops all frames. From then on the entry keeps none.
func (e *Entry) dropFrames() {
	head := e.frames.Swap(nil)
	var size int64
	for f := head; f.next != nil; f = f.next {
		size += f.size()
	}
	if size > 0 {
		head.logs.frameBytes.Add(-size)
	}
}
