package main

import (
	"errors"
	"log/slog"
	"math"
	"runtime/debug"
	"testing"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

func TestMemoryLimitOfTheContainer(t *testing.T) {
	const unlimited = math.MaxInt64
	for _, test := range []struct {
		name, variable string
		limit          uint64
		err            error
		want           int64
	}{
		{"a container with a limit", "", 1000 << 20, nil, 900 << 20},
		{"no limit", "", 0, memlimit.ErrNoLimit, unlimited},
		{"a system without containers", "", 0, memlimit.ErrCgroupsNotSupported, unlimited},
		{"a file that cannot be read", "", 0, errors.New("permission denied"), unlimited},
		{"GOMEMLIMIT is set", "100MiB", 1000 << 20, nil, unlimited}, // The runtime has read it, if it was there at start.
	} {
		t.Run(test.name, func(t *testing.T) {
			defer debug.SetMemoryLimit(debug.SetMemoryLimit(unlimited))
			t.Setenv("GOMEMLIMIT", test.variable)
			limitMemory(func() (uint64, error) { return test.limit, test.err }, slog.New(slog.DiscardHandler))
			if got := debug.SetMemoryLimit(-1); got != test.want {
				t.Errorf("the garbage collector keeps within %d bytes, want %d", got, test.want)
			}
		})
	}
}
