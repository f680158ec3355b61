package forwarded

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"

	"github.com/pires/go-proxyproto"
)

// The PROXY protocol: a proxy that forwards bytes instead of requests begins each connection with
// a header that has the address of its client. That of version 1 is a line:
//
//	PROXY TCP4 <source> <destination> <source port> <destination port>\r\n
//
// That of version 2 is a signature, two bytes, the length of the rest in two bytes, and the rest.
const (
	minHeader = len("PROXY UNKNOWN\r\n") // of version 1; no header is shorter
	maxLine   = 107
	fixed     = 16      // bytes of version 2, up to its length
	maxRest   = 4 << 10 // bytes of version 2 after that: with a certificate among the extensions
)

// lineStart begins a header of version 1.
var lineStart = []byte("PROXY ")

// nginx writes an IPv4 address after TCP6 if only one of the two addresses is one.
func init() { proxyproto.V1AcceptIPv4InTCP6 = true }

// BeginsHeader reports whether p, the beginning of a connection, is that of a header.
func BeginsHeader(p []byte) bool {
	return bytes.HasPrefix(p, lineStart) || bytes.HasPrefix(p, proxyproto.SIGV2)
}

// ReadHeader reads a header of the PROXY protocol, of either version, and not one byte beyond it.
// It returns the address of the client. That is not valid if the header has none, because the
// proxy connects for itself, or does not know it.
func ReadHeader(r io.Reader) (client netip.AddrPort, err error) {
	header, err := readBytes(r)
	if err != nil {
		return client, err
	}
	h, err := proxyproto.Read(bufio.NewReader(bytes.NewReader(header)))
	if err != nil {
		return client, fmt.Errorf("the header of the PROXY protocol is malformed: %w", err)
	}
	source, ok := h.SourceAddr.(*net.TCPAddr)
	if !ok || h.Command.IsLocal() {
		return client, nil
	}
	client = source.AddrPort()
	return netip.AddrPortFrom(client.Addr().Unmap(), client.Port()), nil
}

// readBytes returns the bytes of a header. The library would read more into its buffer, but
// what follows belongs to whoever takes over the connection.
func readBytes(r io.Reader) ([]byte, error) {
	header := make([]byte, minHeader, maxLine)
	if _, err := io.ReadFull(r, header); err != nil {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(header, lineStart):
		for header[len(header)-1] != '\n' && len(header) < maxLine {
			header = append(header, 0)
			if _, err := io.ReadFull(r, header[len(header)-1:]); err != nil {
				return nil, err
			}
		}
		return header, nil
	case bytes.HasPrefix(header, proxyproto.SIGV2):
		header = header[:fixed]
		if _, err := io.ReadFull(r, header[minHeader:]); err != nil {
			return nil, err
		}
		n := binary.BigEndian.Uint16(header[fixed-2:])
		if n > maxRest {
			return nil, fmt.Errorf("the header of the PROXY protocol is longer than %d bytes", maxRest)
		}
		header = append(header, make([]byte, n)...)
		_, err := io.ReadFull(r, header[fixed:])
		return header, err
	}
	return nil, errors.New("the connection does not begin with a header of the PROXY protocol")
}
