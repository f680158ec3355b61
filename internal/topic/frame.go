package topic

// An Encoder writes entries in one encoding. It returns nil for an entry that the encoding
// cannot express. It is for one goroutine.
type Encoder interface {
	Encode(*Entry) []byte
}

// noEncoding is the encoding of Logs.end only.
const noEncoding = 255

// A frame is an entry in one encoding. The entry keeps it for all readers, in a list to
// which new frames are added at the front.
//
// A reader that adds a frame and a log that drops the entry swap the same pointer
// atomically. So a frame is either in the list that the log drops or not kept at all, and
// Logs.FrameBytes counts exactly the frames that are kept.
type frame struct {
	// Immutable once it is in a list.
	next     *frame // nil: this is Logs.end
	logs     *Logs
	data     []byte
	encoding uint8
	shared   bool // data belongs to another frame in the list, which counts it
}

// FrameOverhead is what a frame counts in addition to its data, in bytes.
const FrameOverhead = 48

func (f *frame) size() int64 {
	if f.shared {
		return FrameOverhead
	}
	return int64(cap(f.data)) + FrameOverhead
}

// holds reports whether f or a frame after it uses this memory as its data.
func (f *frame) holds(data []byte) bool {
	for ; f != nil && len(data) > 0; f = f.next {
		if len(f.data) > 0 && &f.data[0] == &data[0] {
			return true
		}
	}
	return false
}

// find returns the frame in encoding in the list that begins at f, or nil.
func (f *frame) find(encoding uint8) *frame {
	for ; f != nil; f = f.next {
		if f.encoding == encoding {
			return f
		}
	}
	return nil
}

// Frame returns the entry as encoder writes it. encoding is the index of the encoder's
// encoding, below 255. While the log holds the entry, the first call encodes it and later
// calls share the result. Once the log has dropped the entry, every call encodes it, so
// encoders must always return the same bytes. Callers must not change the result. Safe for
// concurrent use.
func (e *Entry) Frame(encoding uint8, encoder Encoder) []byte {
	if e.original != nil && e.original.held() {
		return e.original.Frame(encoding, encoder)
	}
	head := e.frames.Load()
	if f := head.find(encoding); f != nil {
		return f.data
	}
	data := encoder.Encode(e)
	if head == nil {
		return data
	}
	return e.keep(head.logs, encoding, data)
}

// Kept returns the frame in an encoding if the entry keeps one, and nil otherwise.
func (e *Entry) Kept(encoding uint8) []byte {
	if f := e.frames.Load().find(encoding); f != nil {
		return f.data
	}
	if e.original != nil {
		return e.original.Kept(encoding)
	}
	return nil
}

// keep adds a frame to the list, unless another reader was faster or the log has dropped
// the entry. It returns the data to use, which may be the other reader's.
func (e *Entry) keep(logs *Logs, encoding uint8, data []byte) []byte {
	f := &frame{logs: logs, data: data, encoding: encoding, shared: e.frames.Load().holds(data)}
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

// dropFrames drops all frames. The entry keeps no frame from then on.
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
