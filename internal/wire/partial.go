package wire

import (
	"bytes"
	"unicode/utf8"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// MinRoom is the maximum number of bytes before the data of a message: see [BeginMessage].
const MinRoom = 2 << 10

// A Partial is the rest of a message that is encoded piece by piece, so that no buffer has
// to hold all of it: escapes make a string up to six times as long. The zero value has
// nothing left.
type Partial struct {
	data []byte // the data that is not encoded yet
	json bool   // data is JSON, not a string
	open bool   // the end is not encoded yet
}

// BeginMessage appends the beginning of the output of [AppendMessage] for m, at most
// [MinRoom] bytes. m must not be a presence event. BeginMessage returns the rest, which
// refers to the data of m but not to m itself.
func BeginMessage(dst []byte, m *pubsub.Message) ([]byte, Partial) {
	dst = appendBeforeData(dst, m)
	if !m.Body.JSON {
		dst = append(dst, '"')
	}
	return dst, Partial{data: m.Body.Data, json: m.Body.JSON, open: true}
}

// Done reports whether nothing is left.
func (p *Partial) Done() bool { return !p.open }

// Append appends the next bytes, at most room of them. With a room of at least 32 bytes it
// always makes progress.
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

// appendData appends the next bytes of the data, without quotes, up to a length of end.
func (p *Partial) appendData(dst []byte, end int) []byte {
	for len(p.data) > 0 {
		// As many bytes as fit with two quotes, even if each must be escaped.
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
			dst = append(dst[:begin], dst[begin+1:len(dst)-1]...) // without the quotes
		}
		p.data = p.data[n:]
	}
	return dst
}

// maxEscape is the maximum number of bytes of JSON for one byte of a string: \u00XX.
const maxEscape = 6

// MessageSize returns how many bytes [AppendMessage] appends for m, which must not be a
// presence event.
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

// breaksSize returns how many bytes the escapes of lineBreaks add.
func breaksSize(data []byte) (size int) {
	for _, b := range lineBreaks {
		size += bytes.Count(data, b.character) * (len(b.escape) - len(b.character))
	}
	return size
}

// escaped is the number of bytes that [AppendString] writes for each byte of a string, not
// counting lineBreaks.
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
