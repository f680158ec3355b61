package transport

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/ikornaselur/notiflux/internal/wire"
)

// Stats count the events of the connections of a [Config]. The zero value is ready to use.
// Safe for concurrent use.
type Stats struct {
	Opened   atomic.Uint64 // connections
	Messages atomic.Uint64 // complete messages passed to applications

	mu     sync.Mutex
	closes map[wire.CloseCode]uint64 // guarded by mu
}

// Closes returns how many connections ended, by the close code that the server sent.
// [wire.CloseNormal] are connections that the client closed, [wire.CloseAbnormal] those that
// broke off. Each connection counts once, when it starts closing.
func (s *Stats) Closes() map[wire.CloseCode]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.closes)
}

func (s *Stats) opened() {
	if s != nil {
		s.Opened.Add(1)
	}
}

func (s *Stats) message() {
	if s != nil {
		s.Messages.Add(1)
	}
}

func (s *Stats) closed(code wire.CloseCode) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closes == nil {
		s.closes = make(map[wire.CloseCode]uint64)
	}
	s.closes[code]++
}
