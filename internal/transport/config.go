package transport

import (
	"log/slog"
	"time"
)

// The limits of docs/protocol.md, section 6. They hold where [Config] has a
// zero value.
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

// A Config says what clients may do. One is shared by many connections, and is
// not changed while they live. The zero value means the defaults.
type Config struct {
	MaxMessageBytes int           // a longer message is closed with 1009 at the header that exceeds it
	MaxFragments    int           // frames per message, then close 1008; negative: no limit
	MessageTimeout  time.Duration // from the first byte of a frame to the end of its message, then close 1008; negative: no limit
	PingEvery       time.Duration // negative: no pings
	PingTimeout     time.Duration // without a byte from the client, then close 4201; negative: no limit
	StallTimeout    time.Duration // without a byte taken by the client while some wait for it, then close 4202; negative: no limit
	HeartbeatEvery  time.Duration // of a stream; negative: no heartbeats
	CloseTimeout    time.Duration // for the socket to take the last bytes, then it is dropped
	ControlRate     int           // control frames per second, then close 1008; a close never counts; negative: no limit
	ControlBurst    int           // control frames at once
	InflateRate     int           // bytes per second that compressed messages may become in the long run; a compressed byte counts as 8 at least; above it reading pauses; negative: no limit
	InflateBurst    int           // such bytes at once

	Heartbeat []byte // what a stream writes between frames, so that proxies see it live; nil: nothing

	Inflaters *Inflaters // for connections that agreed on permessage-deflate; nil: a compressed message is closed with 1002

	Budget *Budget // bounds the incomplete messages of all connections together; nil: no bound
	Unread *Budget // bounds what waits to be written for all of them, here their pongs; nil: no bound
	Stats  *Stats  // counts what happens; nil: nothing is counted

	Log *slog.Logger // told, at debug, of what clients do wrong; nil discards
}

// after returns the time that comes d after from, Never when d is negative.
func after(from, d time.Duration) time.Duration {
	if d < 0 {
		return Never
	}
	return from + d
}
