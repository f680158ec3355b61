package topic

// HeldForTest returns the size of all entries that the logs hold, with the data of each message
// once.
func (s *Topics) HeldForTest() (bytes int64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	seen := make(map[*Entry]bool)
	for _, t := range s.topics {
		t.mu.Lock()
		for e := t.log.first.Load(); e != t.log.tail; e = e.next.Load() {
			bytes += Overhead
			original := e
			if e.original != nil {
				original = e.original
			}
			if !seen[original] {
				seen[original] = true
				bytes += int64(e.Size())
			}
		}
		t.mu.Unlock()
	}
	return bytes
}
