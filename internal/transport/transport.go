// Package transport turns the bytes of a connection into messages for an application, and
// the application's frames into bytes. It contains the WebSocket handshake, the state
// machine of an open WebSocket (RFC 6455), and the state machine of a [Stream], an endless
// HTTP response.
//
// Incoming bytes: the loop passes each read to [WebSocket.Read], which unmasks the bytes in
// place, checks them, and calls [App.Receive] with each complete message. Outgoing bytes:
// the loop calls [WebSocket.Next], writes the result, and reports with [WebSocket.Wrote]
// how many bytes the socket took.
//
// Invariants:
//   - A state machine has no socket and starts no goroutine. The loop that owns it calls
//     all of its methods, with the current time as an argument.
//   - A control frame or heartbeat is written between frames, never inside one.
//   - Closing has a fixed order: the frame in progress, answers that were already queued,
//     the goodbye, the close frame. Nothing follows, and input from the client is ignored.
//   - The meaning of the input does not depend on how it is split into reads.
//   - A connection owns memory only while a message is incomplete or a control frame waits to
//     be written. This memory grows with the bytes received, not with the length that a
//     client announces.
//
// The package does not know what messages mean. That is up to the [App], which is a
// session, or an echo in tests.
package transport

import "time"

// Never is a time that does not come. It is a century and a half away, and far enough from
// the largest Duration that adding to it does not overflow.
const Never = time.Duration(1 << 62)

// A Socket is the loop's side of a connection. None of its methods blocks. They only record
// what is wanted, and do not call the connection back; only Drop may call Gone.
type Socket interface {
	// Dirty says that there is something to write: the loop calls Next soon.
	Dirty()

	// Resume says that the loop may offer again the bytes that Read left.
	Resume()

	// CloseWrite says that everything is written. The loop ends the sending side, and
	// continues to read until Drop or the peer's end.
	CloseWrite()

	// Drop closes the socket now. The loop calls Gone once.
	Drop()

	// Stalled returns how long the peer has taken no byte although bytes wait for it. Time
	// during which the loop was late does not count.
	Stalled() time.Duration

	// Blocked reports, during a Tick, whether the socket was offered bytes and accepts none
	// now.
	Blocked() bool

	// Post calls f on the loop in the next turn, unless the socket is closed by then. A
	// panic in f ends the connection. Post reports whether the loop still runs. Safe for
	// concurrent use.
	Post(f func()) bool

	// Arm asks for a Tick at that time (since the loop began) or soon after. It only moves
	// the next tick earlier. A time in the past means the next turn.
	Arm(at time.Duration)

	// Remote returns the address of the peer, for the log.
	Remote() string
}

// An App handles the messages of a connection. The loop's goroutine calls its methods.
type App interface {
	// Receive handles one complete message. Text is valid UTF-8. The slice is valid only
	// during the call. Streams never call it.
	Receive(message []byte, binary bool)

	// Busy reports whether the application accepts no message now. The application calls
	// Resume of the connection when it accepts messages again.
	Busy() bool

	// Next returns the bytes to write next: whole frames, or nil. They stay valid until
	// Wrote. It is not called once the connection is closing, nor while Rest returns bytes.
	Next() []byte

	// Answers returns the queued answers to the client. It replaces Next once a WebSocket
	// is closing: answers are written before the close frame.
	Answers() []byte

	// Wrote says how many bytes of the last Next, Answers or Rest were taken.
	Wrote(n int)

	// Rest returns the rest of a frame that was partly taken, or nil between frames.
	Rest() []byte

	// Tick is called at each tick of the connection until it is closing. To be called at a
	// certain time, the application must call Arm of the connection each time.
	Tick(now time.Duration)

	// Stuck is called when the client has taken no byte for [Config.StallTimeout] although
	// bytes wait for it. The application then closes the connection.
	Stuck()

	// Gone is called once, when the connection is over. It is the last call.
	Gone()
}
