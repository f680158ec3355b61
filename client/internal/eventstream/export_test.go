package eventstream

// A Reader reads the data of server-sent events.
type Reader = reader

// NewReader returns a reader of a stream.
var NewReader = newReader

// Next returns the data of the next event.
func (r *Reader) Next() ([]byte, error) { return r.next() }
