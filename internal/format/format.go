// Package format says in which forms log entries are written to clients.
//
// A dialect has an [Encoding], which makes a frame of an entry. A client gets that frame, or
// another form of it: compressed, or without the chunk around it. [New] lists these forms for
// one event loop. An entry keeps the frames that were made of it, so it is encoded once for
// all clients of a form.
package format

import (
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// An Encoding is one form in which log entries are written. An entry is encoded once for
// all sessions of an encoding. Encodings of several endpoints are the same if their names
// are.
type Encoding struct {
	Name string
	New  func() topic.Encoder // returns the encoder of one loop

	// Chunked says that each frame is one chunk of HTTP/1.1 (wire.OpenChunk). Streams
	// require it. Clients of other versions get the content of the chunk, without a copy.
	Chunked bool

	// Deflatable says that each frame is one WebSocket text frame. Clients that negotiated
	// permessage-deflate get a compressed form, which the session makes. Several frames at
	// once are not compressed.
	Deflatable bool
}

// A Format is the form in which clients of an encoding get log entries.
type Format struct {
	topic.Format
	LastChunk string // ends the body of a stream properly; empty without chunks
}

// New returns the formats of a loop, two for each encoding: first the frames as the encoder
// makes them, then the other form, if there is one.
func New(encodings []Encoding) []Format {
	formats := make([]Format, 0, 2*len(encodings))
	first := make(map[string]int) // index of the first format of each encoding, by name
	deflater := new(wire.Deflater)
	for _, e := range encodings {
		var plain Format
		if at, known := first[e.Name]; known {
			plain.Format = formats[at].Format
		} else {
			first[e.Name] = len(formats)
			plain.Format = topic.Format{Encoding: uint8(len(formats)), Encoder: e.New()}
		}
		other := plain
		switch {
		case e.Chunked:
			plain.LastChunk = wire.LastChunk
			other.Front, other.Back = wire.ChunkFront, wire.ChunkBack
		case e.Deflatable:
			other.Encoding++
			other.Encoder = &topic.Derived{From: plain.Format, Change: deflater.Deflate}
		}
		formats = append(formats, plain, other)
	}
	return formats
}
