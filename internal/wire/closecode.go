package wire

// A CloseCode tells a WebSocket client why its connection ends, and so whether and when to
// reconnect (RFC 6455, section 7.4). The codes from 4000 to 4999 are our own.
type CloseCode uint16

// The close codes that the server sends.
const (
	CloseNormal       CloseCode = 1000 // the answer to a client's close
	CloseProtocol     CloseCode = 1002 // a frame that RFC 6455 does not allow
	CloseUnsupported  CloseCode = 1003 // a binary message where only text is allowed
	CloseInvalidUTF8  CloseCode = 1007 // text that is not UTF-8, or invalid compressed data
	ClosePolicy       CloseCode = 1008 // flooding, or a message that was not finished in time
	CloseTooBig       CloseCode = 1009 // a message over its limit
	CloseInternal     CloseCode = 1011 // a bug or failure of the server
	CloseRestart      CloseCode = 1012 // this server is shutting down
	CloseOverCapacity CloseCode = 1013 // the server lacks capacity for the client
	CloseRevoked      CloseCode = 4003 // the operator has revoked the token or disconnected the client
	CloseIdle         CloseCode = 4009 // no valid command in time
	CloseTooMany      CloseCode = 4108 // too many commands
	CloseSilent       CloseCode = 4201 // nothing received within the ping timeout
	CloseTooSlow      CloseCode = 4202 // further behind than the limit
)

// CloseAbnormal is the close code under which connections count that ended without a close
// frame from either side. It is never sent (RFC 6455 section 7.1.5).
const CloseAbnormal CloseCode = 1006
