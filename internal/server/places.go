package server

import (
	"context"
	"sync"

	"github.com/ikornaselur/notiflux"
)

// places counts clients, or requests, and keeps them within a limit. Safe for
// concurrent use.
type places struct {
	most int // immutable

	mu    sync.Mutex
	open  int
	empty chan struct{} // closed when open falls to 0; nil: nobody waits
}

// newPlaces returns places with room for most.
func newPlaces(most int) *places { return &places{most: most} }

// enter takes one place, or returns why there is none.
func (p *places) enter() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open >= p.most {
		return notiflux.Errorf(notiflux.OverCapacity, "connection limit reached (%d): try again later", p.most)
	}
	p.open++
	return nil
}

// leave gives a place back.
func (p *places) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open--
	if p.open == 0 && p.empty != nil {
		close(p.empty)
		p.empty = nil
	}
}

func (p *places) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open
}

// wait waits until there are none for a moment, or ctx ends, and returns how many
// there are. One waits at a time.
func (p *places) wait(ctx context.Context) int {
	p.mu.Lock()
	if p.open == 0 {
		p.mu.Unlock()
		return 0
	}
	empty := make(chan struct{})
	p.empty = empty
	p.mu.Unlock()
	select {
	case <-empty:
	case <-ctx.Done():
	}
	return p.count()
}
