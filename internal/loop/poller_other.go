//go:build !linux

package loop

// newPoller returns the poller of this system.
func newPoller(*Loop) (poller, error) { return newSignals(), nil }
