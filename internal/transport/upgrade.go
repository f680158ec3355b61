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

// The headers of a handshake, as net/http spells them.
const (
	headerKey        = "Sec-Websocket-Key"
	headerVersion    = "Sec-Websocket-Version"
	headerProtocol   = "Sec-Websocket-Protocol"
	headerExtensions = "Sec-Websocket-Extensions"

	version   = "13" // RFC 6455 section 4.1
	keyBytes  = 16   // that the key decodes to
	keyLength = 24   // of the key, in base64
	upgradeTo = "websocket"

	tokenProtocol = "notiflux.token." // begins a subprotocol that is a token: the characters of a JWT are legal in one
)

// DefaultUpgradeTimeout is how long a client may take to take the answer.
const DefaultUpgradeTimeout = 5 * time.Second

// bodyPatience is how long a request that is refused for its body may still
// send it.
const bodyPatience = time.Second

// An Upgrader turns HTTP requests into WebSocket connections. The caller checks the origin
// before. The zero value knows no subprotocol and no compression. Safe for concurrent use
// while its fields do not change.
type Upgrader struct {
	Protocols   []string      // known subprotocols; the first of them that a client offers is echoed
	Compression bool          // permessage-deflate is agreed on with clients that offer it
	Over        func() error  // asked last: an [*pubsub.Error] refuses the client before the upgrade; nil: nobody is refused
	Timeout     time.Duration // for writing the answer; 0 means DefaultUpgradeTimeout
}

// A Handshake is what an upgrade came to.
type Handshake struct {
	Conn     net.Conn // without deadlines; the caller's to close
	Early    []byte   // what the client sent already behind its request
	Protocol string   // the subprotocol that was agreed on; empty: none
	Token    string   // what the client offered as the subprotocol notiflux.token.<token>, not verified, never echoed; empty for none
	Deflate  bool     // permessage-deflate was agreed on, without context takeover in either direction
}

// Upgrade checks the handshake (RFC 6455 section 4.2), answers it and takes
// the connection over from net/http.
//
// A handshake that is refused returns an [*pubsub.Error], with the headers
// that belong to it set on w; the caller answers. Any other error means that
// nothing can be answered any more.
func (u *Upgrader) Upgrade(w http.ResponseWriter, r *http.Request) (Handshake, error) {
	if err := u.check(w, r); err != nil {
		return Handshake{}, err
	}
	var agreed Handshake
	agreed.Protocol, agreed.Token, _ = u.offer(r.Header) // check saw that there is no error
	extension := ""
	if u.Compression {
		extension = answerDeflate(r.Header[headerExtensions])
		agreed.Deflate = extension != ""
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError) // net/http would answer 200
		return Handshake{}, fmt.Errorf("upgrade: %w", err)
	}
	if err := u.accept(conn, rw.Writer, acceptance(r.Header[headerKey][0], agreed.Protocol, extension)); err != nil {
		conn.Close()
		return Handshake{}, fmt.Errorf("upgrade: %w", err)
	}
	agreed.Conn, agreed.Early = conn, buffered(rw.Reader)
	return agreed, nil
}

// accept writes the answer, and leaves no deadline on conn.
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

// acceptance returns the answer to a handshake (RFC 6455 section 4.2.2). An empty
// protocol or extension means that none was agreed on.
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

// check returns why a request is no handshake that may be answered with 101.
func (u *Upgrader) check(w http.ResponseWriter, r *http.Request) error {
	answer := w.Header()
	if r.Method != http.MethodGet {
		answer.Set("Allow", http.MethodGet)
		return pubsub.Errorf(pubsub.MethodNotAllowed, "a WebSocket is opened with GET")
	}
	if r.ContentLength != 0 || len(r.TransferEncoding) > 0 {
		answer.Set("Connection", "close")
		// net/http waits for the rest of a body. One that is on its way may
		// arrive, so that closing does not take the answer back; if there are no
		// deadlines on w, that is its owner's choice.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyPatience))
		return pubsub.Errorf(pubsub.Malformed, "a WebSocket handshake has no body")
	}
	if err := checkUpgrade(r); err != nil {
		answer.Set(headerVersion, version)
		if r.ProtoMajor == 1 { // HTTP/2 does not have these
			answer.Set("Upgrade", upgradeTo)
			answer.Set("Connection", "Upgrade")
		}
		return err
	}
	if r.Host == "" {
		return pubsub.Errorf(pubsub.Malformed, "Host must say which server is meant")
	}
	key := r.Header[headerKey]
	if len(key) != 1 || !validKey(key[0]) {
		return pubsub.Errorf(pubsub.Malformed, "Sec-WebSocket-Key must be there once, and be %d bytes in base64", keyBytes)
	}
	if _, _, err := u.offer(r.Header); err != nil {
		return err
	}
	if u.Over != nil {
		return u.Over()
	}
	return nil
}

// checkUpgrade returns why a request does not ask for a WebSocket of the
// version that this server speaks.
func checkUpgrade(r *http.Request) error {
	upgrade, connection := hasToken(r.Header["Upgrade"], upgradeTo), hasToken(r.Header["Connection"], "upgrade")
	meant := upgrade || connection || len(r.Header[headerKey]) > 0 // a proxy may have dropped the rest
	switch {
	case r.ProtoMajor == 1 && r.ProtoMinor < 1 && meant:
		return pubsub.Errorf(pubsub.UpgradeRequired, "a WebSocket is opened with HTTP/1.1, and this came as HTTP/1.0, probably from a proxy: in nginx, set proxy_http_version 1.1")
	case r.ProtoMajor != 1 || r.ProtoMinor < 1:
		return pubsub.Errorf(pubsub.UpgradeRequired, "a WebSocket is opened with HTTP/1.1")
	case !upgrade && meant:
		return pubsub.Errorf(pubsub.UpgradeRequired, "the header Upgrade should be websocket, and a proxy probably dropped it: in nginx, set proxy_set_header Upgrade $http_upgrade")
	case !connection && meant:
		return pubsub.Errorf(pubsub.UpgradeRequired, "the header Connection should be Upgrade, and a proxy probably dropped it: in nginx, set proxy_set_header Connection upgrade")
	case !meant:
		return pubsub.Errorf(pubsub.UpgradeRequired, "this address is for WebSockets: ask for an upgrade")
	case !slices.Equal(r.Header[headerVersion], []string{version}):
		return pubsub.Errorf(pubsub.UpgradeRequired, "Sec-WebSocket-Version must be %s", version)
	}
	return nil
}

// hasToken reports whether a list header holds a token, in any case.
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

// offer returns the first known subprotocol that a client offers, and the token among
// those that it offers: browsers can send it nowhere else. Either may be empty. The token
// is never repeated.
//
// A browser that offers subprotocols fails without a reason if none is agreed on. A client
// with a token means this server, so it gets an error. Other clients with unknown ones get
// the text protocol.
func (u *Upgrader) offer(h http.Header) (protocol, token string, err error) {
	found := false
	for _, line := range h[headerProtocol] {
		for name := range strings.SplitSeq(line, ",") {
			name = strings.Trim(name, " \t")
			offered, isToken := strings.CutPrefix(name, tokenProtocol)
			switch {
			case isToken && found:
				return "", "", pubsub.Errorf(pubsub.Malformed, "Sec-WebSocket-Protocol has more than one %s…", tokenProtocol)
			case isToken:
				token, found = offered, true
			case protocol == "" && slices.Contains(u.Protocols, name):
				protocol = name
			}
		}
	}
	if found && protocol == "" {
		return "", "", pubsub.Errorf(pubsub.Malformed, "Sec-WebSocket-Protocol offers a token and no subprotocol that this server knows: offer notiflux.v1.json with it, as in new WebSocket(url, [\"notiflux.v1.json\", \"%s…\"])", tokenProtocol)
	}
	return protocol, token, nil
}

// buffered returns a copy of what r holds, nil if nothing.
func buffered(r *bufio.Reader) []byte {
	if r.Buffered() == 0 {
		return nil
	}
	p, _ := r.Peek(r.Buffered()) // cannot fail: it is there
	return bytes.Clone(p)
}
