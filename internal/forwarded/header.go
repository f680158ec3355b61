package forwarded

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// The PROXY protocol: a proxy that forwards bytes instead of requests begins each connection with
// a header that has the address of its client.
//
// Version 1 is a line, the worst case of which has 107 bytes:
//
//	PROXY TCP4 <source> <destination> <source port> <destination port>\r\n
//	PROXY TCP6 …
//	PROXY UNKNOWN …
//
// Version 2 is binary:
//
//	signature (12) | version, command | family, transport | length (2) | addresses | extensions
const (
	maxLine      = 107
	minLine      = len("PROXY UNKNOWN\r\n") // of version 1; no header is shorter
	fixedBytes   = 16                       // of version 2, up to its length
	maxRestBytes = 4 << 10                  // of version 2, after its length: with a certificate in the extensions

	lineStart = "PROXY "
	signature = "\r\n\r\n\x00\r\nQUIT\n"

	version2     = 0x2 // upper half of the byte
	commandLocal = 0x0 // the proxy connects for itself, for example to check health
	commandProxy = 0x1

	familyNone        = 0x00
	familyTCP4        = 0x11
	familyTCP6        = 0x21
	familyUnix        = 0x31
	bytesTCP4         = 2*4 + 2*2
	bytesTCP6         = 2*16 + 2*2
	sourcePortOfTCP4  = 2 * 4
	sourcePortOfTCP6  = 2 * 16
	bytesOfSourceTCP4 = 4
	bytesOfSourceTCP6 = 16
)

var (
	errNoHeader  = errors.New("the connection does not begin with a header of the PROXY protocol")
	errBadHeader = errors.New("the header of the PROXY protocol is malformed")
)

// BeginsHeader reports whether p, the beginning of a connection, is that of a header.
func BeginsHeader(p []byte) bool {
	return bytes.HasPrefix(p, []byte(lineStart)) || bytes.HasPrefix(p, []byte(signature))
}

// ReadHeader reads a header of the PROXY protocol, of either version, and not one byte beyond it.
// It returns the address of the client. That is not valid if the header has none, because the
// proxy connects for itself, or does not know it.
func ReadHeader(r io.Reader) (client netip.AddrPort, err error) {
	buffer := make([]byte, minLine, maxLine)
	if _, err := io.ReadFull(r, buffer); err != nil {
		return client, err
	}
	switch {
	case bytes.HasPrefix(buffer, []byte(lineStart)):
		return readLine(r, buffer)
	case bytes.HasPrefix(buffer, []byte(signature)):
		return readBinary(r, buffer)
	}
	return client, errNoHeader
}

// readLine reads the rest of a header of version 1, byte by byte, because its end is unknown.
func readLine(r io.Reader, line []byte) (client netip.AddrPort, err error) {
	for !bytes.HasSuffix(line, []byte("\r\n")) {
		n := len(line)
		if n == maxLine {
			return client, errBadHeader
		}
		line = line[:n+1]
		if _, err := io.ReadFull(r, line[n:]); err != nil {
			return client, err
		}
	}
	return parseLine(strings.TrimSuffix(string(line), "\r\n"))
}

func parseLine(line string) (client netip.AddrPort, err error) {
	fields := strings.Split(line, " ")
	switch {
	case fields[1] == "UNKNOWN": // The rest has no meaning.
		return client, nil
	case len(fields) != 6 || fields[1] != "TCP4" && fields[1] != "TCP6":
		return client, errBadHeader
	}
	source, sourceErr := netip.ParseAddr(fields[2])
	destination, destinationErr := netip.ParseAddr(fields[3])
	sourcePort, sourcePortErr := strconv.ParseUint(fields[4], 10, 16)
	_, destinationPortErr := strconv.ParseUint(fields[5], 10, 16)
	if errors.Join(sourceErr, destinationErr, sourcePortErr, destinationPortErr) != nil || source.Zone() != "" || destination.Zone() != "" {
		return client, errBadHeader
	}
	// With TCP6, nginx writes an IPv4 address as such if only one of the two is one.
	if fields[1] == "TCP4" && !(source.Is4() && destination.Is4()) {
		return client, errBadHeader
	}
	return netip.AddrPortFrom(source.Unmap(), uint16(sourcePort)), nil
}

// readBinary reads the rest of a header of version 2.
func readBinary(r io.Reader, head []byte) (client netip.AddrPort, err error) {
	n := len(head)
	head = head[:fixedBytes]
	if _, err := io.ReadFull(r, head[n:]); err != nil {
		return client, err
	}
	version, command, family := head[12]>>4, head[12]&0xf, head[13]
	length := int(binary.BigEndian.Uint16(head[14:]))
	if version != version2 || command > commandProxy || length > maxRestBytes {
		return client, errBadHeader
	}
	rest := make([]byte, length)
	if _, err := io.ReadFull(r, rest); err != nil {
		return client, err
	}
	switch {
	case command == commandLocal, family == familyNone, family == familyUnix:
		return client, nil
	case family == familyTCP4 && length >= bytesTCP4:
		return source(rest[:bytesOfSourceTCP4], rest[sourcePortOfTCP4:]), nil
	case family == familyTCP6 && length >= bytesTCP6:
		return source(rest[:bytesOfSourceTCP6], rest[sourcePortOfTCP6:]), nil
	}
	return client, errBadHeader
}

func source(addr, port []byte) netip.AddrPort {
	a, _ := netip.AddrFromSlice(addr) // fails only if the length is wrong
	return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(port))
}
