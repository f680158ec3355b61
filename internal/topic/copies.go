package topic

// Entries of pattern topics are copies: they share the data of the original, which counts once in the
// total of all logs: with the topic's log while that holds it, then in Logs.copyBytes. Entry.copies of
// the original is the number of logs that hold the message, once it has been copied.

// share counts a copy of e, which the caller makes. The lock of the topic of e is held.
func (s *Logs) share(e *Entry) {
	if e.copies.Load() == 0 {
		if e.held() {
			e.copies.Store(1)
		} else {
			s.copyBytes.Add(int64(e.Size()))
		}
	}
	e.copies.Add(1)
}

// release notes that the log of e has dropped it. The lock of its topic is held.
func (s *Logs) release(e *Entry) {
	switch {
	case e.original != nil:
		if e.original.copies.Add(-1) == 0 {
			s.copyBytes.Add(-int64(e.Size()))
		}
	case e.copies.Load() > 0:
		if e.copies.Add(-1) > 0 {
			s.copyBytes.Add(int64(e.Size()))
		}
	}
}
