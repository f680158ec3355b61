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

// A logBuffer has the log written by a goroutine of its own, so that nobody waits for
// a reader that does not read. Lines that find the buffer full are dropped and counted,
// and so are those after them, until all before them are written. Safe for concurrent use.
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

// openLog returns a logger to w, and a function that waits for a bounded time until
// all is written, and reports whether it is.
func openLog(w io.Writer, c config.Serve) (log *slog.Logger, flush func() bool) {
	direct := newLogger(w, c.LogFormat, c.LogLevel)
	b := &logBuffer{to: w, done: make(chan struct{}), dropped: func(count int) {
		direct.Warn("log lines dropped", "count", count)
	}}
	b.changed.L = &b.mu
	go b.run()
	return newLogger(b, c.LogFormat, c.LogLevel), b.close
}

// Write takes a line. It never waits and never fails.
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

// run writes what waits until the buffer is closed and empty.
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

// next waits for something to write: lines, or else how many were dropped after them.
// Neither comes after close.
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

// close waits for logFlush until all is written, and reports whether it is.
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
