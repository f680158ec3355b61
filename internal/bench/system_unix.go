//go:build unix

package bench

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// descriptorLimit returns the file descriptor limit of this process, or 0 if there is none.
// Go raises the soft limit to the hard limit.
func descriptorLimit() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > 1<<30 {
		return 0
	}
	return int(limit.Cur)
}

// processorTime returns the CPU time of this process.
func processorTime() time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func isPortShortage(err error) bool { return errors.Is(err, unix.EADDRNOTAVAIL) }
