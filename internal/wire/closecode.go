package wire

// A CloseCode tells a WebSocket client why its connection ends, and so when to
// reconnect (RFC 6455 section 7.4; 4000–4999 are ours).
type CloseCode uint16

// The close codes that the server sends.
const (
	CloseNormal       CloseCode = 1000 // the answer to a client's close
	CloseProtocol     CloseCode = 1002 // a frame that RFC 6455 does not allow
	CloseUnsupported  CloseCode = 1003 // a binary message where only text means something
	CloseInvalidUTF8  CloseCode = 1007 // text that is not UTF-8, or compressed data that is broken
	ClosePolicy       CloseCode = 1008 // flooding, or a message begun and not finished in time
	CloseTooBig       CloseCode = 1009 // a message over its limit
	CloseInternal     CloseCode = 1011 // our fault
	CloseRestart      CloseCode = 1012 // this server is shutting down
	CloseOverCapacity CloseCode = 1013 // no room for what the client sends
	CloseIdle         CloseCode = 4009 // no valid command within the time for it
	CloseTooMany      CloseCode = 4108 // too many commands
	CloseSilent       CloseCode = 4201 // nothing heard within the ping timeout
	CloseTooSlow      CloseCode = 4202 // further behind than allowed
)
