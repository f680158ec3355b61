// Package reading parses what a request to read asks for: the topics or patterns, where to begin
// in each, and how many messages.
//
// A GET request has it in its query ([FromQuery], [Number]), a POST request in its body
// ([FromBody]). Both have the same limits. Package resume parses the resume points, and
// package wire the members that a body shares with commands.
//
// The package does not read bodies and verifies no token. It does not know whether a resume
// point is still covered; package topic does.
package reading

import (
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// Limits of a request: docs/protocol.md, section 6. A client that asks for more messages
// than MaxMessages gets MaxMessages. Most proxies give up after 60 s, some after 30 s.
const (
	MaxMessages = 1000
	DefaultWait = 25 // seconds
	MaxWait     = 60 // seconds

	maxTopics   = 64
	maxPatterns = 16
)

// A Request is what a request asks for. Its errors are [pubsub.Error]s with Malformed or
// TopicInvalid.
type Request struct {
	// Topics are 1 to 64 topics, without duplicates, in the order of the request. Or they are
	// the results of [pubsub.Pattern.Topic] for 1 to 16 patterns, none of which contains
	// another: a message then comes through only one of them.
	Topics       []pubsub.Topic
	ResumePoints []topic.ResumePoint // one for each of Topics; Last is at most MaxMessages
	Latest       bool                // mode latest: a client that is behind skips to the newest message
}
