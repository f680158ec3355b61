package server

import (
	"context"
	"sync"

	"github.com/ikornaselur/notiflux"
)

// clients counts the connections that are served, and keeps them within their
// limit. Safe for concurrent use.
type clients struct {
	// Immutable after newClients.
	most int

	mu    sync.Mutex
	open  int
	empty chan struct{} // closed when open falls to 0; nil: nobody waits
}

// unlimited stands for a limit on descriptors that is none.
const unlimited = 1 << 20

// newClients returns clients with room for most connections; 0 takes what the
// system's limit on descriptors leaves.
func newClients(most int) *clients {
	if most <= 0 {
		most = connectionsBySystem()
	}
	return &clients{most: most}
}

// enter takes one place, or returns why there is none.
func (c *clients) enter() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open >= c.most {
		return notiflux.Errorf(notiflux.OverCapacity, "the server has %d connections, its most: try again later", c.most)
	}
	c.open++
	return nil
}

// leave gives a place back.
func (c *clients) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open--
	if c.open == 0 && c.empty != nil {
		close(c.empty)
		c.empty = nil
	}
}

func (c *clients) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open
}

// wait waits until there are no connections, or ctx ends, and returns how many
// there are. Nothing enters meanwhile, and one waits at a time.
func (c *clients) wait(ctx context.Context) int {
	c.mu.Lock()
	if c.open == 0 {
		c.mu.Unlock()
		return 0
	}
	empty := make(chan struct{})
	c.empty = empty
	c.mu.Unlock()
	select {
	case <-empty:
	case <-ctx.Done():
	}
	return c.count()
}
