package transport

import (
	"log/slog"
	"time"
)

// The defaults of [Config], as in docs/protocol.md, section 6.
const (
	DefaultMaxMessageBytes = (64 + 16) << 10
	DefaultMaxFragments    = 64
	DefaultMessageTimeout  = 10 * time.Second
	DefaultPingEvery       = 25 * time.Second
	DefaultPingTimeout     = 60 * time.Second
	DefaultStallTimeout    = 60 * time.Second
	DefaultHeartbeatEvery  = 15 * time.Second
	DefaultCloseTimeout    = 5 * time.Second
	DefaultControlRate     = 10
	DefaultControlBurst    = 100
	DefaultInflateRate     = 1 << 20
	DefaultInflateBurst    = 4 << 20
)

// A Config sets the limits and timeouts of connections. Many connections share one Config,
// which must not change while they live. Zero values mean the defaults.
type Config struct {
	MaxMessageBytes int           // a longer message is closed with 1009 at the header that exceeds the limit
	MaxFragments    int           // frames per message; beyond it the connection is closed with 1008; negative: no limit
	MessageTimeout  time.Duration // from the first byte of a frame to the end of its message; then close 1008; negative: no limit
	PingEvery       time.Duration // negative: no pings
	PingTimeout     time.Duration // time without a byte from the client; then close 4201; negative: no limit
	StallTimeout    time.Duration // time in which the client takes none of the bytes that wait for it; then close 4202; negative: no limit
	HeartbeatEvery  time.Duration // interval of heartbeats on a stream; negative: no heartbeats
	CloseTimeout    time.Duration // time for the socket to take the last bytes; then the connection is dropped
	ControlRate     int           // control frames per second, not counting close frames; beyond it close 1008; negative: no limit
	ControlBurst    int           // control frames at once
	InflateRate     int           // inflated bytes per second, in the long run; a compressed byte counts as at least 8; beyond it reading pauses; negative: no limit
	InflateBurst    int           // inflated bytes at once

	Heartbeat []byte // a stream writes it between frames, so that proxies do not time out; nil: none

	Inflaters *Inflaters // for connections that negotiated permessage-deflate; nil: a compressed message is closed with 1002

	Budget *Budget // limits the incomplete messages of all connections together; nil: no limit
	Unread *Budget // limits the queued pongs of all connections together; nil: no limit
	Stats  *Stats  // nil: nothing is counted

	Log *slog.Logger // gets protocol violations of clients at level debug; nil: they are discarded
}

// after returns the time d after from, or Never if d is negative.
func after(from, d time.Duration) time.Duration {
	if d < 0 {
		return Never
	}
	return from + d
}
