package memory

// SubjectBytes and KeyBytes are what a subject and each of its keys count, in bytes.
const (
	SubjectBytes = subjectBytes
	KeyBytes     = keyBytes
)

// KeysForTest returns the number of keys that b holds.
func KeysForTest(b *Broker) int {
	b.keys.mu.Lock()
	defer b.keys.mu.Unlock()
	n := 0
	for _, g := range b.keys.generations {
		n += len(g.pending) + len(g.entries)
	}
	return n
}

// CloseWaitsForTest reports whether a call of Close is waiting for messages that b is
// ordering.
func CloseWaitsForTest(b *Broker) bool {
	if b.ordering.TryRLock() {
		b.ordering.RUnlock()
		return false
	}
	return true
}
