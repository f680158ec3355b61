package wire

import (
	"bytes"
	"unicode/utf8"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// MinRoom is the most bytes that a message has before its data: see [BeginMessage].
const MinRoom = 2 << 10

// A Partial is the rest of a message that is encoded piece by piece, so that no buffer
// has to hold all of it: escapes make a string up to six times as long. The zero value
// has nothing left.
type Partial struct {
	data []byte // what is not encoded yet
	json bool   // data is JSON, not a string
	open bool   // the end is not encoded yet
}

// BeginMessage appends the beginning of what [AppendMessage] appends for m, a message
// that somebody published: at most [MinRoom] bytes. It returns what comes after that,
// which keeps the data of m, and not m.
func BeginMessage(dst []byte, m *pubsub.Message) ([]byte, Partial) {
	dst = appendBeforeData(dst, m)
	if !m.Body.JSON {
		dst = append(dst, '"')
	}
	return dst, Partial{data: m.Body.Data, json: m.Body.JSON, open: true}
}

// Done reports whether nothing is left.
func (p *Partial) Done() bool { return !p.open }

// Append appends the next bytes, room of them at most. In a room of 32 bytes or more it
// gets on.
func (p *Partial) Append(dst []byte, room int) []byte {
	end := len(dst) + room
	dst = p.appendData(dst, end)
	closing := "}"
	if !p.json {
		closing = `"}`
	}
	if p.open && len(p.data) == 0 && len(dst)+len(closing) <= end {
		dst = append(dst, closing...)
		*p = Partial{}
	}
	return dst
}

// appendData appends the next bytes of the data, without quotes, and keeps dst within
// end.
func (p *Partial) appendData(dst []byte, end int) []byte {
	for len(p.data) > 0 {
		// As many bytes as fit with two quotes, however they are escaped.
		n := min(len(p.data), (end-len(dst)-2)/maxEscape)
		for n > 0 && n < len(p.data) && !utf8.RuneStart(p.data[n]) {
			n--
		}
		if n <= 0 {
			break
		}
		if p.json {
			dst = appendJSON(dst, p.data[:n])
		} else {
			begin := len(dst)
			dst = AppendString(dst, p.data[:n])
			dst = append(dst[:begin], dst[begin+1:len(dst)-1]...) // Without the quotes.
		}
		p.data = p.data[n:]
	}
	return dst
}

// maxEscape is how many bytes of JSON a byte of a string becomes at most: \u00XX.
const maxEscape = 6

// MessageSize returns how many bytes [AppendMessage] appends for m, a message that
// somebody published.
func MessageSize(m *pubsub.Message) int {
	var room [MinRoom]byte
	size := len(appendBeforeData(room[:0], m)) + len("}")
	if m.Body.JSON {
		return size + jsonSize(m.Body.Data)
	}
	return size + stringSize(m.Body.Data)
}

// stringSize returns how many bytes [AppendString] appends.
func stringSize[S string | []byte](s S) int {
	size := len(`""`) + breaksSize([]byte(s))
	for i := range len(s) {
		size += int(escaped[s[i]])
	}
	return size
}

// jsonSize returns how many bytes [appendJSON] appends.
func jsonSize(value []byte) int { return len(value) + breaksSize(value) }

// breaksSize returns by how many bytes the escapes of lineBreaks are longer.
func breaksSize(data []byte) (size int) {
	for _, b := range lineBreaks {
		size += bytes.Count(data, b.character) * (len(b.escape) - len(b.character))
	}
	return size
}

// escaped is how many bytes [AppendString] makes of each byte of a string, but for
// lineBreaks.
var escaped = func() (sizes [256]uint8) {
	for b := range sizes {
		sizes[b] = 1
		if b < ' ' {
			sizes[b] = maxEscape
		}
	}
	for _, b := range "\"\\\b\f\n\r\t" {
		sizes[b] = 2
	}
	return sizes
}()
