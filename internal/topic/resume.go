package topic

import "github.com/ikornaselur/notiflux/internal/pubsub"

// A ResumePoint says where to begin reading a topic. The zero ResumePoint is the tail: only
// messages that are published from now on.
type ResumePoint struct {
	Since pubsub.Position // read after this position; not set if it has no epoch
	Last  int             // read up to this number of the newest messages; ignored if Since is set

	// Epochs are the epochs in the reader's stream cursor, if that does not contain this
	// topic. If Epochs is not empty and the topic is in another epoch, the reader missed
	// the beginning of that epoch. It then resumes at the tail, as with a position that is
	// not covered. Ignored if Since is set.
	Epochs []string

	// Connection names the reader's connection. Messages that exclude it do not
	// count in Resumed.Replay. 0: it has none.
	Connection pubsub.Connection

	// User identifies the user who reads, for the limit on the patterns of a user. Empty: there
	// is no limit.
	User string
}

// Resumed is where reading begins for a ResumePoint.
type Resumed struct {
	Cursor    Cursor
	Position  pubsub.Position // messages after it are read from Cursor
	Replay    int             // number of messages that the reader can read at once
	Recovered bool            // false if messages after Since may be missing, or if the topic's epoch is not in Epochs
}
