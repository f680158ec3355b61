package main

import (
	"errors"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// limitMemory sets the garbage collector's memory limit to 90 % of the limit of the
// container, which limit returns. The rest is for memory that the collector does not know
// of, such as thread stacks. It does nothing if there is no limit or GOMEMLIMIT is set.
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
