package memory

import "github.com/ikornaselur/notiflux/internal/topic"

// An Orderer orders the messages of a broker.
type Orderer = orderer

// NewWithOrderer returns a broker that uses the Orderer that over returns for its topics.
func NewWithOrderer(over func(*topic.Topics) Orderer) *Broker {
	b, topics := New(Config{}, topic.Config{})
	b.orderer = over(topics)
	return b
}

// SubjectBytes and KeyBytes are the sizes that a subject and each of its keys count.
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

// CloseWaitsForTest reports whether a call of Close waits for messages that b is ordering.
func CloseWaitsForTest(b *Broker) bool {
	if b.ordering.TryRLock() {
		b.ordering.RUnlock()
		return false
	}
	return true
}
