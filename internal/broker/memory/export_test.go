package memory

// SubjectBytes and KeyBytes are what a subject and each of its keys count.
const (
	SubjectBytes = subjectBytes
	KeyBytes     = keyBytes
)

// KeysForTest returns how many keys b holds.
func KeysForTest(b *Broker) int {
	b.keys.mu.Lock()
	defer b.keys.mu.Unlock()
	n := 0
	for _, g := range b.keys.generations {
		n += len(g.pending) + len(g.entries)
	}
	return n
}

// CloseWaitsForTest reports whether Close waits for what b is ordering.
func CloseWaitsForTest(b *Broker) bool {
	if b.ordering.TryRLock() {
		b.ordering.RUnlock()
		return false
	}
	return true
}
