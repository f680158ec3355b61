// Package logtest keeps what is logged, for tests that read it.
package logtest

import (
	"strings"
	"sync"
)

// A Buffer keeps all that is written to it. Its zero value is empty. Safe for concurrent
// use.
type Buffer struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// String returns what was written so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
