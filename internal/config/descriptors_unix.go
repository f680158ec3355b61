//go:build unix

package config

import "syscall"

// descriptorLimit returns how many descriptors the process may have open. Go raises the soft
// limit to the hard limit at start.
func descriptorLimit() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || uint64(limit.Cur) > unlimited {
		return unlimited
	}
	return int(limit.Cur)
}
