package transport

import (
	"cmp"
	"compress/flate"
	"errors"
	"io"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/ikornaselur/notiflux/internal/wire"
	"github.com/ikornaselur/notiflux/internal/wsframe"
)

const (
	// inflateTail completes a compressed message: the bytes that its sender removed, and an
	// empty final block. So a whole message is a sequence of blocks that ends with a final
	// one.
	inflateTail = wire.DeflateTail + "\x01" + wire.DeflateTail

	// window is how far back in a message compressed data may refer.
	window = 32 << 10

	// maxSequences limits the sequences of blocks in a message. Each sequence ends with a
	// final block, and RFC 7692 section 7.2.3.4 allows blocks after a final one. Starting a
	// sequence costs as much as thousands of bytes.
	maxSequences = 64

	// compressedCost is the number of inflated bytes that a compressed byte counts as. A
	// block can define its own code and contain next to nothing, so reading it costs more
	// than its output suggests.
	compressedCost = 8

	// sequenceCost is the number of inflated bytes that each sequence after the first
	// counts as.
	sequenceCost = 4 << 10

	// keepInflated is the maximum memory that an inflater keeps for the next message.
	keepInflated = 64 << 10
)

var (
	errTooLong = errors.New("the message is too long")
	errCorrupt = errors.New("the compressed data is corrupt")
)

// Inflaters inflate compressed messages of clients (permessage-deflate, RFC 7692). Each
// message is inflated on its own. A connection uses an inflater only during a message. The
// zero value is ready to use. Safe for concurrent use.
type Inflaters struct {
	pool sync.Pool // of *inflater
}

// charge takes n bytes from the client's allowance of inflated bytes: a rate with a burst,
// as for control frames.
func (w *WebSocket) charge(n int) {
	rate := cmp.Or(w.cfg.InflateRate, DefaultInflateRate)
	if rate < 0 {
		return
	}
	perSecond := func(n int) time.Duration { return time.Duration(n) * time.Second / time.Duration(rate) }
	burst := perSecond(cmp.Or(w.cfg.InflateBurst, DefaultInflateBurst))
	w.inflateAgain = max(w.inflateAgain, w.lastRead-burst) + perSecond(n)
}

// inflated handles a complete compressed message.
func (w *WebSocket) inflated(op wsframe.Opcode, compressed []byte) {
	n, ok := w.cfg.Inflaters.pool.Get().(*inflater)
	if !ok {
		n = &inflater{reader: flate.NewReader(new(pieces))}
	}
	message, err := n.inflate(compressed, w.maxMessage())
	cost := max(len(message), compressedCost*len(compressed)) + sequenceCost*n.further
	w.charge(cost)
	w.work += int32(cost)
	switch {
	case errors.Is(err, errTooLong):
		w.refuse(wire.CloseTooBig, err.Error())
	case err != nil:
		// The frame itself was valid, so the code is not 1002: the data does not match the
		// type of the frame (RFC 6455 section 7.4.1).
		w.refuse(wire.CloseInvalidUTF8, err.Error())
	case op == wsframe.Text && !utf8.Valid(message):
		w.closeInvalidText()
	default:
		w.deliver(op, message)
	}
	n.in = pieces{}
	if cap(n.out) > keepInflated {
		n.out = nil
	}
	w.cfg.Inflaters.pool.Put(n)
}

// An inflater inflates one message after the other.
type inflater struct {
	reader io.ReadCloser // also a [flate.Resetter]
	in     pieces
	out    []byte

	further int // sequences in the last message after its first one
}

// inflate returns the inflated content of p, up to most bytes. The result is valid until
// the next call. The memory in use is at most twice the output so far.
func (n *inflater) inflate(p []byte, most int) ([]byte, error) {
	n.in, n.out = pieces{p, inflateTail}, n.out[:0]
	for n.further = range maxSequences {
		seen := n.out[max(0, len(n.out)-window):]
		if err := n.reader.(flate.Resetter).Reset(&n.in, seen); err != nil {
			return nil, err
		}
		if err := n.readSequence(most); err != nil {
			return nil, err
		}
		switch left := n.in.len(); {
		case left == 0, left == len(inflateTail): // or the message's own last block was final
			return n.out, nil
		case left < len(inflateTail):
			return nil, errCorrupt
		}
	}
	return nil, errCorrupt
}

// readSequence appends the data of one sequence of blocks to out.
func (n *inflater) readSequence(most int) error {
	for len(n.out) <= most {
		if len(n.out) == cap(n.out) {
			n.out = slices.Grow(n.out, min(max(len(n.out), minMessageCap), most+1-len(n.out)))
		}
		k, err := n.reader.Read(n.out[len(n.out):min(cap(n.out), most+1)])
		n.out = n.out[:len(n.out)+k]
		switch {
		case err == io.EOF && len(n.out) <= most:
			return nil
		case err != nil && err != io.EOF:
			return errCorrupt
		}
	}
	return errTooLong
}

// pieces reads bytes and then a string. It implements io.ByteReader, so that the inflater
// reads nothing after the final block of a sequence.
type pieces struct {
	rest []byte
	tail string
}

func (p *pieces) len() int { return len(p.rest) + len(p.tail) }

func (p *pieces) ReadByte() (b byte, err error) {
	switch {
	case len(p.rest) > 0:
		b, p.rest = p.rest[0], p.rest[1:]
	case len(p.tail) > 0:
		b, p.tail = p.tail[0], p.tail[1:]
	default:
		err = io.EOF
	}
	return b, err
}

func (p *pieces) Read(to []byte) (n int, err error) {
	if p.len() == 0 {
		return 0, io.EOF
	}
	if len(p.rest) > 0 {
		n = copy(to, p.rest)
		p.rest = p.rest[n:]
		return n, nil
	}
	n = copy(to, p.tail)
	p.tail = p.tail[n:]
	return n, nil
}
