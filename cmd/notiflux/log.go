package main

import (
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/ikornaselur/notiflux/internal/config"
)

const (
	// logBytes is how much of the log may wait for its reader.
	logBytes = 1 << 20
	// logFlush is how long the end of a server waits for that.
	logFlush = time.Second
)

// A logBuffer writes the log in a goroutine, so that a reader that does not read blocks
// nobody. When the buffer is full, lines are dropped and counted until everything before
// them is written. A logBuffer is safe for concurrent use.
type logBuffer struct {
	to      io.Writer
	dropped func(count int) // writes to the same

	mu      sync.Mutex
	changed sync.Cond
	// Guarded by mu.
	waiting []byte
	writing int // bytes that the goroutine writes now
	lost    int // lines
	closed  bool
	done    chan struct{} // closed when all is written after close
}

// openLog returns a logger that writes to w, and a function that waits up to logFlush
// until everything is written and reports whether it is.
func openLog(w io.Writer, c config.Serve) (log *slog.Logger, flush func() bool) {
	direct := newLogger(w, c.LogFormat, c.LogLevel)
	b := &logBuffer{to: w, done: make(chan struct{}), dropped: func(count int) {
		direct.Warn("log lines dropped", "count", count)
	}}
	b.changed.L = &b.mu
	go b.run()
	return newLogger(b, c.LogFormat, c.LogLevel), b.close
}

// Write adds a line to the buffer. It never blocks and never fails.
func (b *logBuffer) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lost > 0 || len(b.waiting)+b.writing+len(line) > logBytes {
		b.lost++
	} else {
		b.waiting = append(b.waiting, line...)
	}
	b.changed.Signal()
	return len(line), nil
}

// run writes buffered lines until the buffer is closed and empty.
func (b *logBuffer) run() {
	defer close(b.done)
	for {
		lines, lost := b.next()
		switch {
		case len(lines) > 0:
			_, _ = b.to.Write(lines) // A log that cannot be written is no reason to stop.
		case lost > 0:
			b.dropped(lost)
		default:
			return
		}
	}
}

// next waits for something to write: buffered lines, or else the number of lines dropped
// after them. It returns neither once the buffer is closed and empty.
func (b *logBuffer) next() (lines []byte, lost int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.writing = 0
	for len(b.waiting) == 0 && b.lost == 0 && !b.closed {
		b.changed.Wait()
	}
	if lines = b.waiting; len(lines) > 0 {
		b.waiting, b.writing = nil, len(lines)
		return lines, 0
	}
	lost, b.lost = b.lost, 0
	return nil, lost
}

// close waits up to logFlush until everything is written, and reports whether it is.
func (b *logBuffer) close() bool {
	b.mu.Lock()
	b.closed = true
	b.changed.Signal()
	b.mu.Unlock()
	select {
	case <-b.done:
		return true
	case <-time.After(logFlush):
		return false
	}
}
