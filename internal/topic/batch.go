package topic

import "github.com/ikornaselur/notiflux/internal/pubsub"

const (
	// MaxBatch is the size in bytes at which a batch is full. It is about what
	// TCP_NOTSENT_LOWAT lets a socket take. It also limits the message bytes of a batch,
	// because messages may be much larger than their compressed frames.
	MaxBatch = 64 << 10
	// batchSlots is the number of batches that a [Batches] keeps. Most readers of a topic
	// have the same cursor.
	batchSlots = 4
)

// A Format says in which form some readers get entries: as the frames of an encoding, or as
// the inner part of those frames. Formats are compared by address.
type Format struct {
	Encoding    uint8   // see [Entry.Frame]
	Encoder     Encoder // of one loop
	Front, Back int     // bytes to leave out at both ends of each frame
}

// Frame returns the frame of an entry that is not a marker. The result is shared.
func (f *Format) Frame(e *Entry) []byte { return f.cut(e.Frame(f.Encoding, f.Encoder)) }

// Kept returns the frame of an entry if the entry keeps it, else nil.
func (f *Format) Kept(e *Entry) []byte { return f.cut(e.Kept(f.Encoding)) }

func (f *Format) cut(frame []byte) []byte {
	if len(frame) == 0 {
		return nil
	}
	return frame[f.Front : len(frame)-f.Back]
}

// Derived is an [Encoder] that transforms the frames of another format, for example
// compresses them.
type Derived struct {
	From   Format
	Change func(frame []byte) []byte
}

// Encode implements [Encoder].
func (d *Derived) Encode(e *Entry) []byte {
	frame := d.From.Kept(e)
	if frame == nil {
		frame = d.From.cut(d.From.Encoder.Encode(e))
	}
	if frame == nil {
		return nil
	}
	return d.Change(frame)
}

// A Batch is the concatenated frames that follow one cursor, for every reader with that
// cursor and format. It ends before a marker. Its memory belongs to [Batches].
type Batch struct {
	From, End    Cursor
	Data         []byte
	Sizes        []int             // of the frame of each entry; 0 if the encoding has none for it
	Messages     int               // entries with frames
	MessageBytes int               // size of the entries, unencoded
	Exclude      pubsub.Connection // the connection that must not get the batch; 0 means none

	format *Format // nil: the slot is free
	limit  int     // of len(Data): no frame is added once Data is this long
	buffer []byte  // the memory of Data if it holds more than one frame
}

// add adds an entry and its frame.
func (b *Batch) add(e *Entry, frame []byte) {
	b.Sizes = append(b.Sizes, len(frame))
	b.MessageBytes += e.Size()
	if len(frame) == 0 {
		return
	}
	b.Messages++
	switch {
	case len(b.Data) == 0:
		b.Data = frame
		return
	case len(b.buffer) == 0:
		b.buffer = append(b.buffer, b.Data...)
	}
	b.buffer = append(b.buffer, frame...)
	b.Data = b.buffer
}

// PastExcluded returns the cursor of the first message from c on that does not exclude x, and the
// number of messages before it. more reports that it stopped early, after most messages.
func (c Cursor) PastExcluded(x pubsub.Connection, most int) (next Cursor, n int, more bool) {
	for ; ; n++ {
		entry, next, ok := c.Next()
		if !ok || x == 0 || entry.message.Exclude != x {
			return c, n, false
		}
		if n >= most {
			return c, n, true
		}
		c = next
	}
}

// Batches makes the batches of one loop, and keeps the latest ones. It is for one
// goroutine.
type Batches struct {
	slots [batchSlots]Batch
	next  int   // the slot to replace next
	none  Batch // see Empty
}

// Reset drops all batches, so that later ones reach the tail again.
func (b *Batches) Reset() {
	for i := range b.slots {
		b.slots[i] = Batch{buffer: b.slots[i].buffer, Sizes: b.slots[i].Sizes}
	}
	b.none = Batch{}
}

// Empty returns a batch without entries at c. If full is true, it counts as full.
func (b *Batches) Empty(c Cursor, full bool) *Batch {
	b.none = Batch{From: c, End: c}
	if full {
		b.none.MessageBytes = MaxBatch
	}
	return &b.none
}

// From returns the batch that begins at c. It is empty at the tail and at a marker. A batch
// that has reached limit bytes gets no further frame. Either all messages of a batch
// exclude the same connection, or none excludes any. The batch is valid until the next
// call.
func (b *Batches) From(f *Format, c Cursor, limit int) *Batch {
	for i := range b.slots {
		if s := &b.slots[i]; s.From == c && s.format == f && (s.limit == limit || len(s.Data) < min(s.limit, limit)) {
			return s
		}
	}
	s := b.Before(f, c, limit, nil)
	if len(s.Sizes) > 0 { // A kept empty batch would hide the next message.
		s.format = f
	}
	return s
}

// Before is From, but the batch ends before the first entry for which stop, unless it is nil,
// returns true. It is not kept for other readers.
func (b *Batches) Before(f *Format, c Cursor, limit int, stop func(*Entry) bool) *Batch {
	s := &b.slots[b.next]
	b.next = (b.next + 1) % batchSlots
	*s = Batch{From: c, End: c, limit: limit, buffer: s.buffer[:0], Sizes: s.Sizes[:0]}
	for len(s.Data) < limit && s.MessageBytes < MaxBatch {
		entry, next, ok := s.End.Next()
		if !ok || entry.IsMarker() || stop != nil && stop(entry) {
			break
		}
		exclude := entry.message.Exclude
		if len(s.Sizes) > 0 && exclude != s.Exclude {
			break
		}
		s.Exclude = exclude
		s.add(entry, f.Frame(entry))
		s.End = next
	}
	return s
}
