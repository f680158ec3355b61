//go:build !unix

package bench

import "time"

func descriptorLimit() int { return 0 }

func processorTime() time.Duration { return 0 }

func isPortShortage(error) bool { return false }
