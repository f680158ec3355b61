package transport

import (
	"strings"

	"github.com/ikornaselur/notiflux/internal/wire"
)

const deflateExtension = "permessage-deflate" // RFC 7692 section 7

// answerDeflate returns the extension to agree on, given the lines of a
// Sec-WebSocket-Extensions header: the first offer of permessage-deflate that
// can be served (RFC 7692 section 5.1), empty if there is none. A line that is
// not of the header's form (RFC 6455 section 9.1) offers nothing.
func answerDeflate(lines []string) string {
	for _, line := range lines {
		offers, ok := parseExtensions(line)
		if !ok {
			continue
		}
		for _, o := range offers {
			if answer := o.answer(); answer != "" {
				return answer
			}
		}
	}
	return ""
}

// An extension is one element of a Sec-WebSocket-Extensions header.
type extension struct {
	name   string
	params []param
}

type param struct {
	name, value string
	hasValue    bool
}

// answer returns what accepts e as an offer of permessage-deflate, empty if
// it is to be declined: RFC 7692 section 7.1 for what it may say.
func (e extension) answer() string {
	if e.name != deflateExtension {
		return ""
	}
	answer := wire.DeflateAnswer
	seen := make(map[string]bool)
	for _, p := range e.params {
		if seen[p.name] {
			return ""
		}
		seen[p.name] = true
		switch p.name {
		case "server_no_context_takeover", "client_no_context_takeover":
			if p.hasValue {
				return ""
			}
		case "client_max_window_bits": // a hint, of which no use is made
			if p.hasValue && !windowBits(p.value) {
				return ""
			}
		case "server_max_window_bits":
			// The compressor has one window. An offer of it must be confirmed.
			if p.value != "15" {
				return ""
			}
			answer += "; server_max_window_bits=15"
		default:
			return ""
		}
	}
	return answer
}

// windowBits reports whether s is a number from 8 to 15 without leading zeros.
func windowBits(s string) bool {
	switch s {
	case "8", "9", "10", "11", "12", "13", "14", "15":
		return true
	}
	return false
}

// parseExtensions parses one line of the header:
//
//	extension *( "," extension )
//	extension = token *( ";" token [ "=" ( token | quoted token ) ] )
//
// with white space around each of them, and empty elements between commas.
func parseExtensions(line string) (all []extension, ok bool) {
	s := scanner{line}
	for {
		for s.take(',') {
		}
		if s.rest == "" {
			return all, true
		}
		e := extension{name: s.token()}
		if e.name == "" {
			return nil, false
		}
		for s.take(';') {
			p := param{name: s.token()}
			if p.name == "" {
				return nil, false
			}
			if p.hasValue = s.take('='); p.hasValue {
				if p.value = s.value(); p.value == "" {
					return nil, false
				}
			}
			e.params = append(e.params, p)
		}
		if s.rest != "" && s.rest[0] != ',' {
			return nil, false
		}
		all = append(all, e)
	}
}

// A scanner takes a header line apart. Empty strings mean: not there.
type scanner struct{ rest string }

func (s *scanner) skipSpace() { s.rest = strings.TrimLeft(s.rest, " \t") }

// take takes a separator and the white space around it, if it is next.
func (s *scanner) take(separator byte) bool {
	s.skipSpace()
	if s.rest == "" || s.rest[0] != separator {
		return false
	}
	s.rest = s.rest[1:]
	s.skipSpace()
	return true
}

func (s *scanner) token() (token string) {
	n := 0
	for n < len(s.rest) && isTokenByte(s.rest[n]) {
		n++
	}
	token, s.rest = s.rest[:n], s.rest[n:]
	s.skipSpace()
	return token
}

// value takes a token, or a quoted string that holds one.
func (s *scanner) value() string {
	quoted, ok := strings.CutPrefix(s.rest, `"`)
	if !ok {
		return s.token()
	}
	var token []byte
	for i := 0; i < len(quoted); i++ {
		b := quoted[i]
		if b == '"' {
			s.rest = quoted[i+1:]
			s.skipSpace()
			return string(token)
		}
		if b == '\\' && i+1 < len(quoted) {
			i++
			b = quoted[i]
		}
		if !isTokenByte(b) {
			return ""
		}
		token = append(token, b)
	}
	return ""
}

// isTokenByte reports whether b may stand in a token (RFC 9110 section 5.6.2).
func isTokenByte(b byte) bool {
	switch {
	case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9':
		return true
	}
	return strings.IndexByte("!#$%&'*+-.^_`|~", b) >= 0
}
