// Package forwarded finds out the addresses of clients behind proxies that the operator trusts.
//
// A proxy that forwards bytes begins each connection with a header of the PROXY protocol, which
// [ReadHeader] reads. A proxy that forwards requests appends the address of its client to the header X-Forwarded-For. Everything that was
// in the header before may be an invention of the client. So [Proxies.Handler] reads the header
// from its end, and stops at the first address that is not that of a trusted proxy.
//
// Invariant: a client that is not a trusted proxy cannot choose its address.
package forwarded

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Proxies are the addresses of trusted proxies. They are immutable.
type Proxies []netip.Prefix

// Parse parses IP addresses and ranges in CIDR notation. Each error has a line of its own.
func Parse(texts []string) (p Proxies, errs []error) {
	for _, text := range texts {
		text = strings.TrimSpace(text)
		prefix, err := netip.ParsePrefix(text)
		if addr, addrErr := netip.ParseAddr(text); addrErr == nil && addr.Zone() == "" {
			addr = plain(addr)
			prefix, err = addr.Prefix(addr.BitLen())
		}
		if err != nil || prefix.Addr().Is4In6() {
			errs = append(errs, fmt.Errorf("has %q: use the IP address of a proxy, or a range such as 10.0.0.0/8 or fd00::/8", text))
			continue
		}
		p = append(p, prefix.Masked())
	}
	return p, errs
}

// plain returns addr without a zone, and as an IPv4 address if it is one in the form of IPv6.
func plain(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }

// Trust reports whether the peer of a connection is a trusted proxy.
func (p Proxies) Trust(peer net.Addr) bool {
	tcp, ok := peer.(*net.TCPAddr)
	return ok && p.trust(plain(tcp.AddrPort().Addr()))
}

func (p Proxies) trust(addr netip.Addr) bool {
	return slices.ContainsFunc(p, func(prefix netip.Prefix) bool { return prefix.Contains(addr) })
}

// Handler returns a handler that calls next. If a trusted proxy sent a request, RemoteAddr of
// the request is the IP address that the proxies report, without a port. It stays as it is if
// they report none.
func (p Proxies) Handler(next http.Handler) http.Handler {
	if len(p) == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if client, ok := p.client(r); ok {
			forwarded := *r
			forwarded.RemoteAddr = client.String()
			r = &forwarded
		}
		next.ServeHTTP(w, r)
	})
}

// client returns the address of the client that a request is from. It reports false if no
// trusted proxy names it.
func (p Proxies) client(r *http.Request) (client netip.Addr, ok bool) {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !p.trust(plain(peer.Addr())) {
		return client, false
	}
	lines := r.Header["X-Forwarded-For"]
	for _, line := range slices.Backward(lines) {
		for line != "" {
			comma := strings.LastIndexByte(line, ',')
			addr, valid := Addr(strings.Trim(line[comma+1:], " \t"))
			if !valid {
				return client, ok // What a proxy appended after it is still true.
			}
			client, ok = addr, true
			if !p.trust(addr) {
				return client, ok
			}
			line = line[:max(comma, 0)]
		}
	}
	return client, ok
}

// Addr parses RemoteAddr of a request, or an element of X-Forwarded-For: an IP address with or
// without a port. It returns the address without a zone, and as an IPv4 address if it is one
// in the form of IPv6.
func Addr(text string) (addr netip.Addr, ok bool) {
	if with, err := netip.ParseAddrPort(text); err == nil {
		return plain(with.Addr()), true
	}
	if inner, found := strings.CutPrefix(text, "["); found {
		text = strings.TrimSuffix(inner, "]")
	}
	addr, err := netip.ParseAddr(text)
	return plain(addr), err == nil
}
