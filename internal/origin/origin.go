// Package origin decides which web pages may use the server: one list for CORS
// (Fetch standard) and for the Origin of WebSocket handshakes (RFC 6455
// section 10.2).
//
// Authority lies in tokens, which no browser sends by itself, so the default
// list is "*". A list of names is for operators who want to narrow that.
package origin

import (
	"fmt"
	"net/url"
	"strings"
)

// A List holds the origins that may use the server. The zero value allows
// any. It is immutable after Parse, and safe for concurrent use.
type List struct {
	named map[string]bool // nil: any origin
}

// Parse reads a list of origins, each scheme://host[:port] as browsers send
// it, or the single element "*" for any. An empty list means any, too.
func Parse(origins []string) (List, error) {
	if len(origins) == 0 || len(origins) == 1 && origins[0] == "*" {
		return List{}, nil
	}
	l := List{named: make(map[string]bool, len(origins))}
	for _, o := range origins {
		u, err := url.Parse(o)
		switch {
		case o == "*":
			return List{}, fmt.Errorf(`%q stands alone or not at all`, o)
		case err != nil || u.Scheme == "" || u.Host == "" || o != u.Scheme+"://"+u.Host:
			return List{}, fmt.Errorf("%q is not an origin: write scheme://host or scheme://host:port, as in https://app.example.com", o)
		}
		l.named[strings.ToLower(o)] = true
	}
	return l, nil
}

// Any reports whether every origin is allowed.
func (l List) Any() bool { return l.named == nil }

// Allows reports whether the value of an Origin header may use the server.
// No Origin (an empty string) is not a browser's cross-site request: allowed.
func (l List) Allows(header string) bool {
	return l.Any() || header == "" || l.named[strings.ToLower(header)]
}

// Names reports whether the value of an Origin header is in the list by its
// name: an operator trusts that site. "*" names nobody.
func (l List) Names(header string) bool { return l.named[strings.ToLower(header)] }
