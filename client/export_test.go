package client

import "time"

// NewForTest is New for a client that waits so long before each attempt.
func NewForTest(address string, o Options, delay func(int) time.Duration) (*Client, error) {
	c, err := New(address, o)
	if err == nil {
		c.hub.delay = delay
	}
	return c, err
}

// WaitingForTest returns the number of entries that the loop has not taken.
func (s *Subscription) WaitingForTest() int {
	s.queue.mu.Lock()
	defer s.queue.mu.Unlock()
	return s.queue.entries.Len() + s.queue.folded.Len()
}

// ParseHistoryForTest reads the answer to a history call.
var ParseHistoryForTest = parseHistory
