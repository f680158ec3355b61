//go:build unix

package server

import "golang.org/x/sys/unix"

// connectionsBySystem leaves a fifth of the process's descriptors for
// everything that is not a client. Go raises the soft limit to the hard one.
func connectionsBySystem() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || uint64(limit.Cur) > unlimited {
		return unlimited
	}
	return int(limit.Cur) * 4 / 5
}
