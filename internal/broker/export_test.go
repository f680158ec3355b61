package broker

// LimitKeysForTest has b hold at most n keys.
func LimitKeysForTest(b *Memory, n int) { b.keys.most = n }

// KeysForTest returns how many keys count, and how many b holds.
func KeysForTest(b *Memory) (counted, held int) {
	b.keys.mu.Lock()
	defer b.keys.mu.Unlock()
	return len(b.keys.known), b.keys.order.Len()
}
