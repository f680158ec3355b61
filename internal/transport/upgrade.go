package transport

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/wsframe"
)

// Names and values of handshake headers, as net/http spells them.
const (
	headerKey        = "Sec-Websocket-Key"
	headerVersion    = "Sec-Websocket-Version"
	headerProtocol   = "Sec-Websocket-Protocol"
	headerExtensions = "Sec-Websocket-Extensions"

	version   = "13" // RFC 6455 section 4.1
	keyBytes  = 16   // bytes of the decoded key
	keyLength = 24   // length of the key in base64
	upgradeTo = "websocket"

	tokenProtocol = "notiflux.token." // begins a subprotocol that is a token; all characters of a JWT are allowed in a subprotocol
)

// DefaultUpgradeTimeout is how long a client may take to read the answer.
const DefaultUpgradeTimeout = 5 * time.Second

// bodyPatience is how long a client may still send a body for which its request is refused.
const bodyPatience = time.Second

// An Upgrader turns HTTP requests into WebSocket connections. The caller checks the origin
// first. The zero value supports no subprotocol and no compression. Safe for concurrent use
// as long as its fields do not change.
type Upgrader struct {
	Protocols   []string      // known subprotocols; the first of them that a client offers is accepted
	Compression bool          // accept permessage-deflate if a client offers it
	Over        func() error  // the last check; its [*pubsub.Error] refuses the client before the upgrade; nil: no check
	Timeout     time.Duration // for writing the answer; 0: DefaultUpgradeTimeout
}

// A Handshake is the result of an upgrade.
type Handshake struct {
	Conn     net.Conn // without deadlines; the caller closes it
	Early    []byte   // bytes that the client has already sent after its request
	Protocol string   // accepted subprotocol; empty: none
	Token    string   // from the subprotocol notiflux.token.<token>; not verified, never echoed; empty: none
	Deflate  bool     // permessage-deflate was accepted, without context takeover in either direction
}

// Upgrade checks the handshake (RFC 6455 section 4.2), answers it and takes the connection
// over from net/http.
//
// If the handshake is refused, Upgrade returns an [*pubsub.Error] and has set the related
// headers on w; the caller writes the answer. After any other error the request cannot be
// answered.
func (u *Upgrader) Upgrade(w http.ResponseWriter, r *http.Request) (Handshake, error) {
	if err := u.check(w, r); err != nil {
		return Handshake{}, err
	}
	var agreed Handshake
	agreed.Protocol, agreed.Token, _ = u.offer(r.Header) // check has already ruled out an error
	extension := ""
	if u.Compression {
		extension = answerDeflate(r.Header[headerExtensions])
		agreed.Deflate = extension != ""
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError) // otherwise net/http answers 200
		return Handshake{}, fmt.Errorf("upgrade: %w", err)
	}
	if err := u.accept(conn, rw.Writer, acceptance(r.Header[headerKey][0], agreed.Protocol, extension)); err != nil {
		conn.Close()
		return Handshake{}, fmt.Errorf("upgrade: %w", err)
	}
	agreed.Conn, agreed.Early = conn, buffered(rw.Reader)
	return agreed, nil
}

// accept writes the answer, and removes all deadlines from conn.
func (u *Upgrader) accept(conn net.Conn, w *bufio.Writer, answer string) error {
	if err := conn.SetWriteDeadline(time.Now().Add(cmp.Or(u.Timeout, DefaultUpgradeTimeout))); err != nil {
		return err
	}
	_, _ = w.WriteString(answer) // Flush returns the error.
	if err := w.Flush(); err != nil {
		return err
	}
	return conn.SetDeadline(time.Time{})
}

// acceptance returns the answer to a handshake (RFC 6455 section 4.2.2). protocol and
// extension are empty if none was accepted.
func acceptance(key, protocol, extension string) string {
	answer := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: " + wsframe.Accept(key) + "\r\n"
	if protocol != "" {
		answer += "Sec-WebSocket-Protocol: " + protocol + "\r\n"
	}
	if extension != "" {
		answer += "Sec-WebSocket-Extensions: " + extension + "\r\n"
	}
	return answer + "\r\n"
}

// check returns why a request is not a valid handshake, or nil.
func (u *Upgrader) check(w http.ResponseWriter, r *http.Request) error {
	answer := w.Header()
	if r.Method != http.MethodGet {
		answer.Set("Allow", http.MethodGet)
		return pubsub.Errorf(pubsub.MethodNotAllowed, "a WebSocket handshake must use GET")
	}
	if r.ContentLength != 0 || len(r.TransferEncoding) > 0 {
		answer.Set("Connection", "close")
		// net/http waits for the rest of a body. The client gets some time to send it, so
		// that closing the connection does not destroy the answer. An error means that w
		// supports no deadlines, which is its owner's choice.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyPatience))
		return pubsub.Errorf(pubsub.Malformed, "a WebSocket handshake must not have a body")
	}
	if err := checkUpgrade(r); err != nil {
		answer.Set(headerVersion, version)
		if r.ProtoMajor == 1 { // HTTP/2 does not have these headers.
			answer.Set("Upgrade", upgradeTo)
			answer.Set("Connection", "Upgrade")
		}
		return err
	}
	if r.Host == "" {
		return pubsub.Errorf(pubsub.Malformed, "the Host header must name exactly one host")
	}
	key := r.Header[headerKey]
	if len(key) != 1 || !validKey(key[0]) {
		return pubsub.Errorf(pubsub.Malformed, "Sec-WebSocket-Key must appear exactly once and contain %d bytes in base64", keyBytes)
	}
	if _, _, err := u.offer(r.Header); err != nil {
		return err
	}
	if u.Over != nil {
		return u.Over()
	}
	return nil
}

// checkUpgrade returns why a request does not ask for a WebSocket of the supported version,
// or nil.
func checkUpgrade(r *http.Request) error {
	upgrade, connection := hasToken(r.Header["Upgrade"], upgradeTo), hasToken(r.Header["Connection"], "upgrade")
	meant := upgrade || connection || len(r.Header[headerKey]) > 0 // A proxy may have dropped the other headers.
	switch {
	case r.ProtoMajor == 1 && r.ProtoMinor < 1 && meant:
		return pubsub.Errorf(pubsub.UpgradeRequired, "a WebSocket handshake needs HTTP/1.1, but this request is HTTP/1.0, probably because of a proxy: in nginx, set proxy_http_version 1.1")
	case r.ProtoMajor != 1 || r.ProtoMinor < 1:
		return pubsub.Errorf(pubsub.UpgradeRequired, "a WebSocket handshake needs HTTP/1.1")
	case !upgrade && meant:
		return pubsub.Errorf(pubsub.UpgradeRequired, "the header Upgrade: websocket is missing, probably dropped by a proxy: in nginx, set proxy_set_header Upgrade $http_upgrade")
	case !connection && meant:
		return pubsub.Errorf(pubsub.UpgradeRequired, "the header Connection: Upgrade is missing, probably dropped by a proxy: in nginx, set proxy_set_header Connection upgrade")
	case !meant:
		return pubsub.Errorf(pubsub.UpgradeRequired, "this path serves WebSockets: send a WebSocket handshake, or use /events for plain HTTP")
	case !slices.Equal(r.Header[headerVersion], []string{version}):
		return pubsub.Errorf(pubsub.UpgradeRequired, "Sec-WebSocket-Version must be %s", version)
	}
	return nil
}

// hasToken reports whether a list header contains a token, ignoring case.
func hasToken(lines []string, token string) bool {
	for _, line := range lines {
		for item := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.Trim(item, " \t"), token) {
				return true
			}
		}
	}
	return false
}

func validKey(key string) bool {
	decoded, err := base64.StdEncoding.DecodeString(key)
	return err == nil && len(decoded) == keyBytes && len(key) == keyLength
}

// offer returns the first known subprotocol that a client offers, and the token among the
// offers, because browsers cannot send a token elsewhere. Either may be empty. The answer
// never repeats the token.
//
// If a browser offers subprotocols and none is accepted, the connection fails without a
// reason. A client that offers a token is meant for this server, so it gets an error. Other
// clients with only unknown subprotocols get the text protocol.
func (u *Upgrader) offer(h http.Header) (protocol, token string, err error) {
	found := false
	for _, line := range h[headerProtocol] {
		for name := range strings.SplitSeq(line, ",") {
			name = strings.Trim(name, " \t")
			offered, isToken := strings.CutPrefix(name, tokenProtocol)
			switch {
			case isToken && found:
				return "", "", pubsub.Errorf(pubsub.Malformed, "Sec-WebSocket-Protocol has more than one JWT: send only one subprotocol that starts with %s", tokenProtocol)
			case isToken:
				token, found = offered, true
			case protocol == "" && slices.Contains(u.Protocols, name):
				protocol = name
			}
		}
	}
	if found && protocol == "" {
		return "", "", pubsub.Errorf(pubsub.Malformed, "Sec-WebSocket-Protocol has a JWT but no subprotocol that this server supports: offer notiflux.v1.json as well, as in new WebSocket(url, [\"notiflux.v1.json\", \"%s…\"])", tokenProtocol)
	}
	return protocol, token, nil
}

// buffered returns a copy of the bytes that r has buffered, or nil.
func buffered(r *bufio.Reader) []byte {
	if r.Buffered() == 0 {
		return nil
	}
	p, _ := r.Peek(r.Buffered()) // cannot fail, because the bytes are buffered
	return bytes.Clone(p)
}
