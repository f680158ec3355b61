package posts

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// maxHeaders is the maximum number of header lines in a small post.
const maxHeaders = 32

// maxDigits is the maximum number of digits of the Content-Length of a small post.
const maxDigits = 4

// What the bytes in a buffer are.
type kind int

const (
	incomplete kind = iota // perhaps a small post, of which more has to arrive
	complete               // a small post, and perhaps more
	other                  // a request for net/http
)

// An exchange is a small post with its answer. Its memory is used for one after the other.
type exchange struct {
	request *http.Request
	header  http.Header
	values  [maxHeaders]string // of header
	lines   string             // that header, Host and length are of
	length  int                // of the body; 0: no lines were parsed
	url     url.URL
	body    body
	answer  answer
}

// newExchange returns an exchange on c.
func (c *conn) newExchange() *exchange {
	x := &exchange{header: make(http.Header)}
	x.request = (&http.Request{
		Method:     http.MethodPost,
		URL:        &x.url,
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
		Header:     x.header,
		RequestURI: c.server.path,
		RemoteAddr: c.socket.RemoteAddr().String(),
	}).WithContext(c.context())
	x.answer = answer{conn: c, dated: -1, header: make(http.Header)}
	return x
}

// recognize says what is in the buffer. If it is a small post, recognize returns its size,
// and sets exchange.
func (c *conn) recognize() (size int, what kind) {
	if c.isIdle() {
		return 0, incomplete
	}
	b, start := c.buffer[:c.n], c.server.start
	if len(b) < len(start) {
		if strings.HasPrefix(start, string(b)) {
			return 0, incomplete
		}
		return 0, other
	}
	if string(b[:len(start)]) != start {
		return 0, other
	}
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		if len(b) == bufferBytes || endsLinesAlone(b) {
			return 0, other
		}
		return 0, incomplete
	}
	end += len("\r\n")
	if c.exchange == nil {
		c.exchange = c.newExchange()
	}
	x := c.exchange
	// Most clients send the same lines again.
	if lines := b[len(start):end]; x.length == 0 || string(lines) != x.lines {
		var ok bool
		x.lines = string(lines)
		if x.length, ok = x.parse(x.lines); !ok {
			return 0, other
		}
	}
	end += len("\r\n")
	length := x.length
	switch {
	case length > bufferBytes-end:
		return 0, other
	case length > len(b)-end:
		return 0, incomplete
	}
	x.body.rest, x.request.Body = b[end:end+length], &x.body
	x.url = url.URL{Path: c.server.path}
	x.request.ContentLength = int64(length)
	return end + length, complete
}

// endsLinesAlone reports whether a line of a head ends without a carriage return. For
// net/http, such a head may have ended already.
func endsLinesAlone(head []byte) bool {
	return bytes.Count(head, []byte("\n")) != bytes.Count(head, []byte("\r\n"))
}

// parse reads the header lines of a small post, and returns the length of its body. It
// returns false if it does not know that net/http would understand them in the same way.
func (x *exchange) parse(lines string) (length int, ok bool) {
	clear(x.header)
	x.request.Host = ""
	for i := 0; lines != ""; i++ {
		name, value, rest, ok := cutLine(lines)
		if !ok || i == maxHeaders {
			return 0, false
		}
		lines = rest
		name = http.CanonicalHeaderKey(name)
		switch name {
		case "Host":
			if x.request.Host != "" || !isHost(value) {
				return 0, false
			}
			x.request.Host = value
			continue // as in net/http
		case "Content-Length":
			if x.header[name] != nil || len(value) > maxDigits || strings.Trim(value, "0123456789") != "" {
				return 0, false
			}
			length, _ = strconv.Atoi(value) // 0 if it is empty
		case "Connection":
			if !strings.EqualFold(value, "keep-alive") {
				return 0, false
			}
		case "Transfer-Encoding", "Expect", "Upgrade", "Trailer", "Te", "Http2-Settings", "Proxy-Connection", "Pragma":
			return 0, false // net/http does something about them, or a proxy may
		}
		x.values[i] = value
		if x.header[name] == nil {
			x.header[name] = x.values[i : i+1 : i+1]
		} else {
			x.header[name] = append(x.header[name], value)
		}
	}
	return length, length > 0 && x.request.Host != ""
}

// cutLine cuts the first header line off a head. It returns false if the line has anything
// but letters, digits, hyphens and underscores before the colon, or anything but printable
// ASCII after it, or if it does not end with CR LF.
func cutLine(lines string) (name, value, rest string, ok bool) {
	colon := 0
	for colon < len(lines) && isWord(lines[colon]) {
		colon++
	}
	if colon == 0 || colon == len(lines) || lines[colon] != ':' {
		return "", "", "", false
	}
	end := colon + 1
	for end < len(lines) && ' ' <= lines[end] && lines[end] <= '~' {
		end++
	}
	if !strings.HasPrefix(lines[end:], "\r\n") {
		return "", "", "", false
	}
	return lines[:colon], strings.Trim(lines[colon+1:end], " "), lines[end+len("\r\n"):], true
}

// isWord reports whether b is a letter, a digit, a hyphen or an underscore.
func isWord(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || b == '-' || b == '_'
}

// isHost reports whether a value is a plain Host: a name or an address, and perhaps a port.
func isHost(value string) bool {
	for i := range len(value) {
		if b := value[i]; !isWord(b) && b != '.' && b != ':' && b != '[' && b != ']' {
			return false
		}
	}
	return value != ""
}

// A body is the body of a small post. All of it has arrived.
type body struct{ rest []byte }

// Read implements [io.Reader].
func (b *body) Read(p []byte) (int, error) {
	n := copy(p, b.rest)
	if b.rest = b.rest[n:]; len(b.rest) == 0 {
		return n, io.EOF
	}
	return n, nil
}

// Close implements [io.Closer].
func (b *body) Close() error { return nil }
