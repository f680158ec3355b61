//go:build unix

package bench

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// descriptorLimit returns how many descriptors this process may have, 0 when
// there is no limit. Go raises the soft limit to the hard one.
func descriptorLimit() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > 1<<30 {
		return 0
	}
	return int(limit.Cur)
}

// processorTime returns how long this process has computed.
func processorTime() time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func isPortShortage(err error) bool { return errors.Is(err, unix.EADDRNOTAVAIL) }
