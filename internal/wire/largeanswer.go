package wire

// A LargeAnswer is a text message of any size, such as a history or a list of members. It
// is encoded piece by piece while the socket accepts it, as one message of several frames.
// No other message may come between these frames (RFC 6455 section 5.4).
type LargeAnswer interface {
	// Append appends the next bytes, up to room of them. It makes progress if room is at
	// least [MinLargeAnswerRoom].
	Append(dst []byte, room int) []byte
	Len() int    // number of bytes left
	Owned() int  // bytes of memory that only the answer keeps, apart from log entries
	Lag() uint64 // bytes that the answer keeps although the logs have dropped them
}

// MinLargeAnswerRoom is the smallest room that [LargeAnswer.Append] gets, in bytes.
const MinLargeAnswerRoom = 8 << 10
