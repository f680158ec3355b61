package main

import (
	"errors"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// limitMemory has the garbage collector keep the process within 90 % of the memory
// that its container may use, as limit returns it. The rest is for what the collector
// does not know, such as stacks of the system's threads. Where there is no limit, or
// GOMEMLIMIT is set, it changes nothing.
func limitMemory(limit func() (uint64, error), log *slog.Logger) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	bytes, err := limit()
	switch {
	case errors.Is(err, memlimit.ErrNoLimit):
	case err != nil:
		log.Debug("memory limit unknown", "err", err)
	default:
		debug.SetMemoryLimit(int64(bytes / 10 * 9))
	}
}
