// Package transport turns the bytes of a connection into messages for an
// application, and the application's frames into bytes: the WebSocket
// handshake, the state machine of an open WebSocket (RFC 6455), and that of a
// [Stream], a response without end that only goes out.
//
// A message passes through here twice. Coming in, the loop gives what it read
// to [WebSocket.Read], which unmasks it in place, checks it, and calls
// [App.Receive] with each whole message. Going out, the loop asks
// [WebSocket.Next] for bytes and says with [WebSocket.Wrote] how many of them
// the socket took.
//
// Invariants:
//   - A state machine knows no socket and starts no goroutine. One goroutine, the
//     loop that owns it, calls all of its methods; time is given to it.
//   - A control frame or heartbeat stands between frames, never inside one that
//     was begun.
//   - After a close was begun, the frame under way is finished, answers that were made
//     before, the goodbye and the close frame follow, and nothing after them; what the
//     client sends is ignored.
//   - How the input is cut into reads changes nothing about what it means.
//   - Memory is owned only while a message is incomplete or a control frame
//     waits to be written. It grows with the bytes that came, not with the
//     length that a client announced.
//
// What messages mean is not its business: an [App] is a session, or an echo.
package transport

import "time"

// Never is a time that does not come: a century and a half away, and far
// enough from the largest Duration that it can be reckoned with.
const Never = time.Duration(1 << 62)

// A Socket is what a connection may ask of the loop that serves it. None of its
// methods waits. They only note what is wanted, and do not call the connection
// back; Drop may call Gone.
type Socket interface {
	// Dirty says that there is something to write: the loop calls Next soon.
	Dirty()

	// Resume says that the bytes which Read left may be offered again.
	Resume()

	// CloseWrite says that everything is written: the loop ends the sending
	// side, and goes on reading until Drop or the peer's end.
	CloseWrite()

	// Drop says that the socket is to be closed now. Gone is called once.
	Drop()

	// Stalled returns for how long the peer has taken no byte, although bytes wait
	// for it. Time in which the loop was late does not count.
	Stalled() time.Duration

	// Blocked reports, in a Tick, whether the socket was offered bytes and takes
	// none at this moment.
	Blocked() bool

	// Post has f called on the loop, in the next turn, unless the socket is closed
	// by then; if f panics, that ends the connection. It reports whether the loop
	// still turns. Safe for concurrent use.
	Post(f func()) bool

	// Arm asks for a Tick at that time (since the loop began) or soon after.
	// It only ever moves the next tick earlier; a time that has passed means
	// the next turn.
	Arm(at time.Duration)

	// Remote returns the address of the peer, for the log.
	Remote() string
}

// An App is what a connection's messages are for. The loop's goroutine calls
// its methods.
type App interface {
	// Receive takes one whole message; if it is text, it is valid UTF-8. The
	// slice is valid only during the call. A stream receives nothing.
	Receive(message []byte, binary bool)

	// Busy reports whether the application takes no message now. Its owner
	// calls Resume of the connection when it does again.
	Busy() bool

	// Next returns the bytes of whole frames that are to be written next, nil
	// if there are none. They stay valid until Wrote. It is not called once a
	// close was begun, nor while Rest returns something.
	Next() []byte

	// Answers returns those of them that answer what the client sent, and that are
	// there already. It takes the place of Next once the close of a WebSocket was begun:
	// they go out before the close frame.
	Answers() []byte

	// Wrote says how many bytes of the last Next, Answers or Rest were taken.
	Wrote(n int)

	// Rest returns what is left of a frame that Wrote cut, nil when everything
	// taken so far ends at the end of a frame.
	Rest() []byte

	// Tick is called at each of the connection's ticks until a close is begun.
	// Who wants another one at a certain time asks for it each time, with Arm
	// of the connection.
	Tick(now time.Duration)

	// Stuck is called when the client has taken no byte for [Config.StallTimeout],
	// although bytes wait for it. The application closes the connection.
	Stuck()

	// Gone is called once, when the connection is over; nothing follows it.
	Gone()
}
