//go:build !unix

package config

// descriptorLimit returns unlimited: this system has no such limit.
func descriptorLimit() int { return unlimited }
