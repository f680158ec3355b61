package wire

import (
	"cmp"
	"math"
	"time"
)

// Limits are the limits of a connection. Zero means the default. Dialects report some of them
// to clients.
type Limits struct {
	PingEvery       time.Duration // the transport sends the pings
	MaxMessageBytes int           // of a published message
	MaxCommandBytes int           // of a command; the transport enforces it
	MaxTopics       int           // per session
	MaxLagBytes     uint64        // unread bytes that a session may keep in addition to those in the logs
	CommandRate     float64       // commands per second, in the long run
	CommandBurst    float64       // commands at once
}

const (
	defaultPingEvery       = 25 * time.Second
	defaultMaxMessageBytes = 64 << 10
	defaultMaxCommandBytes = 80 << 10
	defaultMaxTopics       = 1000
	defaultMaxLagBytes     = 1 << 20
	defaultCommandRate     = 100
	defaultCommandBurst    = 1000
)

// OrDefaults returns the limits with the default for each that is zero.
func (l Limits) OrDefaults() Limits {
	l.PingEvery = cmp.Or(l.PingEvery, defaultPingEvery)
	l.MaxMessageBytes = cmp.Or(l.MaxMessageBytes, defaultMaxMessageBytes)
	l.MaxCommandBytes = cmp.Or(l.MaxCommandBytes, defaultMaxCommandBytes)
	l.MaxTopics = cmp.Or(l.MaxTopics, defaultMaxTopics)
	l.MaxLagBytes = cmp.Or(l.MaxLagBytes, defaultMaxLagBytes)
	l.CommandRate = cmp.Or(l.CommandRate, defaultCommandRate)
	l.CommandBurst = cmp.Or(l.CommandBurst, defaultCommandBurst)
	return l
}

// A Budget limits the memory that sessions of all groups own for bytes that clients have
// not read yet. Safe for concurrent use.
type Budget interface {
	Charge(n int) (within bool) // adds n bytes in any case, and reports whether the budget allows them
	Release(n int)
	Share() int // number of requested bytes that one session may own now
}

// NoBudget is a Budget without a limit.
type NoBudget struct{}

func (NoBudget) Charge(int) bool { return true }
func (NoBudget) Release(int)     {}
func (NoBudget) Share() int      { return math.MaxInt }
