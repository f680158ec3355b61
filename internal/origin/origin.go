// Package origin decides which web pages may use the server. One list applies to CORS
// (Fetch standard) and to the Origin header of WebSocket handshakes (RFC 6455, section
// 10.2).
//
// [Parse] reads the list from the configuration, and [List.Allows] checks the Origin header
// of each request.
//
// The default list is "*", because permissions come from tokens, and browsers do not send a
// token automatically unless it is in a cookie. An operator can restrict the list to named
// origins. The server accepts a cookie from a page of another host only if the operator has
// listed the page's origin by name ([List.Names]).
//
// Parse refuses every entry that no browser ever sends. Such an entry would shut out the
// pages that it was meant for.
package origin

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// A List holds the origins that may use the server. The zero value allows every origin. A
// List is immutable and safe for concurrent use.
type List struct {
	named     map[string]bool // keys are scheme://host[:port] as browsers write it; nil: any origin
	wildcards []wildcard
}

// None is a list that allows no origin, for routes that only programs may use.
var None = List{named: map[string]bool{}}

// A wildcard stands for every subdomain of a name, at any depth, but not the name itself.
type wildcard struct {
	scheme string // with "://"
	suffix string // begins with a dot; includes the port unless it is the scheme's default
}

// Parse parses a list of origins. Each element is scheme://host[:port] as browsers send it,
// or scheme://*.host[:port] for all subdomains of a host. A single element "*" stands for
// every origin. Parse ignores case, white space around an element, the default port of a
// scheme, and empty elements. A list without any origin is an error. The error has one line
// for each wrong element.
func Parse(origins []string) (List, error) {
	l := List{named: make(map[string]bool, len(origins))}
	n := 0
	var errs []error
	for _, text := range origins {
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		n++
		if text == "*" {
			l.named = nil
			continue
		}
		scheme, host, err := parse(text)
		switch {
		case err != nil:
			errs = append(errs, err)
		case l.named == nil: // refused below
		case strings.HasPrefix(host, "*."):
			l.wildcards = append(l.wildcards, wildcard{scheme + "://", host[1:]})
		default:
			l.named[scheme+"://"+host] = true
		}
	}
	switch {
	case len(errs) > 0:
		return List{}, errors.Join(errs...)
	case n == 0:
		return List{}, errors.New("is empty: write * to allow every origin, or list origins such as https://app.example.com")
	case l.named == nil && n > 1:
		return List{}, errors.New(`has "*" and other origins: write * alone to allow every origin, or remove it`)
	}
	return l, nil
}

// pageless lists schemes that no browser sends in an Origin header: they belong to
// protocols other than HTTP, or to pages whose origin is null. Any other scheme may belong
// to an app, whose web view sends it: capacitor, tauri, chrome-extension, or one that a
// desktop app has registered. That is why there is no list of valid schemes.
var pageless = []string{
	"about", "amqp", "amqps", "blob", "data", "file", "ftp", "ftps", "git", "gopher", "grpc", "imap", "irc", "ircs", "javascript",
	"ldap", "ldaps", "mailto", "mqtt", "mqtts", "nats", "postgres", "redis", "rediss", "rtmp", "rtsp", "sftp", "smtp", "ssh",
	"tcp", "telnet", "tls", "udp", "unix", "urn", "view-source",
}

// parse returns the scheme and the host with its port of one element, as browsers write
// them.
func parse(text string) (scheme, host string, err error) {
	lower := strings.ToLower(text)
	u, err := url.Parse(lower)
	if err != nil || u.Scheme == "" || u.Host == "" || lower != u.Scheme+"://"+u.Host {
		return "", "", fmt.Errorf("has %q, which is not an origin: write scheme://host or scheme://host:port, such as https://app.example.com", text)
	}
	scheme, host = u.Scheme, u.Hostname()
	if scheme == "ws" || scheme == "wss" {
		return "", "", fmt.Errorf("has %q: the origin of a page that opens a WebSocket starts with http or https, not with ws or wss", text)
	}
	if slices.Contains(pageless, scheme) {
		return "", "", fmt.Errorf("has %q: no page has an origin that starts with %s: write http, https, or the scheme of an app, such as capacitor://localhost", text, scheme)
	}
	if strings.IndexFunc(host, func(r rune) bool { return r > unicode.MaxASCII }) >= 0 {
		return "", "", fmt.Errorf("has %q: browsers send this host in Punycode: write it as xn--…, as the browser's developer tools show it", text)
	}
	if strings.Contains(strings.TrimPrefix(host, "*."), "*") {
		return "", "", fmt.Errorf("has %q: a star can only stand for subdomains: write it as in https://*.example.com", text)
	}
	if host, err = canonical(host); err != nil {
		return "", "", fmt.Errorf("has %q: %w", text, err)
	}
	switch port, numErr := strconv.ParseUint(u.Port(), 10, 16); {
	case strings.HasSuffix(u.Host, ":"), u.Port() != "" && (numErr != nil || port == 0):
		return "", "", fmt.Errorf("has %q: a port must be a number from 1 to 65535", text)
	case u.Port() != "" && !isDefault(scheme, port):
		host += ":" + strconv.FormatUint(port, 10)
	}
	return scheme, host, nil
}

// canonical returns host as browsers write it in an origin (URL standard, host
// serializing). host is in lower case and may begin with "*.".
func canonical(host string) (string, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		switch {
		case addr.Is4In6(): // browsers write the last 32 bits in hexadecimal too
			b := addr.As16()
			return fmt.Sprintf("[::ffff:%x:%x]", binary.BigEndian.Uint16(b[12:]), binary.BigEndian.Uint16(b[14:])), nil
		case addr.Is6():
			return "[" + addr.String() + "]", nil
		}
		return addr.String(), nil
	}
	name := strings.TrimPrefix(host, "*.")
	labels := strings.TrimSuffix(name, ".") // a browser keeps the dot at the end of a full name
	switch {
	case isNumber(labels[strings.LastIndexByte(labels, '.')+1:]):
		return "", errors.New("browsers write an IPv4 address as four numbers, as in http://127.0.0.1")
	case !isLabels(labels):
		return "", errors.New("a host consists of labels of letters, digits, - and _, separated by single dots, such as app.example.com")
	}
	return host, nil
}

// isNumber reports whether browsers read a host with this last label as an IPv4 address
// (URL standard, ends-in-a-number checker).
func isNumber(label string) bool {
	digits, isHex := strings.CutPrefix(label, "0x")
	if isHex {
		return strings.Trim(digits, "0123456789abcdef") == ""
	}
	return label != "" && strings.Trim(label, "0123456789") == ""
}

// isDefault reports whether browsers omit the port from an origin.
func isDefault(scheme string, port uint64) bool {
	return scheme == "https" && port == 443 || scheme == "http" && port == 80
}

// Any reports whether every origin is allowed.
func (l List) Any() bool { return l.named == nil }

// IsNone reports whether no origin is allowed.
func (l List) IsNone() bool { return !l.Any() && len(l.named)+len(l.wildcards) == 0 }

// Allows reports whether a page may use the server if its requests have this Origin header.
// An empty header is not an origin. A request without the header does not come from a page,
// so the list does not apply to it.
func (l List) Allows(header string) bool {
	if l.Any() || l.Names(header) {
		return true
	}
	header = strings.ToLower(header)
	for _, w := range l.wildcards {
		rest, isScheme := strings.CutPrefix(header, w.scheme)
		name, isBelow := strings.CutSuffix(rest, w.suffix)
		if isScheme && isBelow && isLabels(name) {
			return true
		}
	}
	return false
}

// isLabels reports whether name consists of labels separated by single dots.
func isLabels(name string) bool {
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || strings.ContainsFunc(label, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
		}) {
			return false
		}
	}
	return true
}

// Names reports whether the list contains the value of an Origin header by name, which
// means that an operator trusts the site. "*" and wildcards name no origin.
func (l List) Names(header string) bool { return l.named[strings.ToLower(header)] }
