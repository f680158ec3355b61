//go:build !unix || solaris || aix

package revoke

import "os"

// lockFile creates a file. This system does not lock it.
func lockFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
}

// syncDirectory does nothing: not every system can synchronise a folder.
func syncDirectory(*os.File) error { return nil }
