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

// ParseHistoryForTest reads the answer to a history call.
var ParseHistoryForTest = parseHistory
