package transport

import (
	"regexp"
	"strings"

	"github.com/ikornaselur/notiflux/internal/wire"
)

const deflateExtension = "permessage-deflate" // RFC 7692 section 7

// answerDeflate returns the extension to accept, given the lines of a
// Sec-WebSocket-Extensions header: the first offer of permessage-deflate that the server
// supports (RFC 7692 section 5.1), or an empty string. A line with invalid syntax (RFC 6455
// section 9.1) offers nothing.
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

// answer returns the response that accepts e as an offer of permessage-deflate, or an empty
// string to decline it. RFC 7692 section 7.1 lists the parameters.
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
		case "client_max_window_bits": // a hint that the server does not use
			if p.hasValue && !windowBits.MatchString(p.value) {
				return ""
			}
		case "server_max_window_bits":
			// The compressor supports only this window size. The answer must confirm it.
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

// windowBits matches a number from 8 to 15 without leading zeros.
var windowBits = regexp.MustCompile("^([89]|1[0-5])$")

// Plain and quoted tokens (RFC 9110 section 5.6.2).
var (
	plainToken  = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
	quotedToken = regexp.MustCompile("^\"(\\\\?[!#$%&'*+.^_`|~0-9A-Za-z-])+\"$")
)

// parseExtensions parses one line of the header:
//
//	extension *( "," extension )
//	extension = token *( ";" token [ "=" ( token | quoted token ) ] )
//
// White space may surround each token, and elements between commas may be empty. A quoted
// token contains no separators.
func parseExtensions(line string) (all []extension, ok bool) {
	for element := range strings.SplitSeq(line, ",") {
		if trimSpace(element) == "" {
			continue
		}
		name, params, hasParams := strings.Cut(element, ";")
		e := extension{name: trimSpace(name)}
		if !plainToken.MatchString(e.name) {
			return nil, false
		}
		for hasParams {
			var text string
			text, params, hasParams = strings.Cut(params, ";")
			p, ok := parseParam(text)
			if !ok {
				return nil, false
			}
			e.params = append(e.params, p)
		}
		all = append(all, e)
	}
	return all, true
}

func parseParam(text string) (p param, ok bool) {
	p.name, p.value, p.hasValue = strings.Cut(text, "=")
	p.name, p.value = trimSpace(p.name), trimSpace(p.value)
	if quotedToken.MatchString(p.value) {
		p.value = strings.ReplaceAll(strings.Trim(p.value, `"`), `\`, "")
	}
	return p, plainToken.MatchString(p.name) && (!p.hasValue || plainToken.MatchString(p.value))
}

func trimSpace(s string) string { return strings.Trim(s, " \t") }
