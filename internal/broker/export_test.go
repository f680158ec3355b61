package broker

// LimitKeysForTest has b hold at most n keys.
func LimitKeysForTest(b *Memory, n int) { b.keys.most = n }
