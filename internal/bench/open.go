package bench

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/wsframe"
)

const (
	// openers is the number of handshakes in progress at once: enough to keep a server busy,
	// and less than its accept queue.
	openers = 128
	// openTimeout is for one connection, including its confirmed subscription.
	openTimeout = 20 * time.Second
)

// open opens all connections. It returns an error if the first one fails, because all others
// would then fail in the same way. It counts later failures.
func (e *engine) open(ctx context.Context) error {
	if err := e.connect(ctx, 0); err != nil {
		return err
	}
	var working sync.WaitGroup
	defer working.Wait()
	indexes := make(chan int)
	defer close(indexes)
	for range min(openers, e.Connections-1) {
		working.Go(func() {
			for i := range indexes {
				if err := e.connect(ctx, i); err != nil && ctx.Err() == nil {
					e.fail(err)
				}
			}
		})
	}
	began := time.Now()
	for i := 1; i < e.Connections; i++ {
		if e.Ramp > 0 {
			due := began.Add(time.Duration(i) * time.Second / time.Duration(e.Ramp))
			if pause(ctx, time.Until(due)) != nil {
				return nil
			}
		}
		select {
		case indexes <- i:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// pause waits for d, and returns ctx.Err() if ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// connect opens one connection, subscribes it, and gives it to its lane when the server has
// confirmed the subscription. Each connection has its own token, as real clients have.
func (e *engine) connect(ctx context.Context, index int) error {
	topic := index % e.Topics
	token, err := e.sign(auth.Subscribe, e.topics[topic], index)
	if err != nil {
		return err
	}
	began := time.Now()
	ctx, cancel := context.WithDeadline(ctx, began.Add(openTimeout))
	defer cancel()
	conn, err := e.dial(ctx)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(began) }) // long past: ends what waits
	early, err := e.subscribe(conn, e.topics[topic], token)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return err
	}
	e.opened(time.Since(began))
	e.lanes[index%len(e.lanes)].add(conn, topic, e.Publishers, early)
	return nil
}

// dial opens a connection to the server, with TLS if the URL says so.
func (e *engine) dial(ctx context.Context) (net.Conn, error) {
	port := e.URL.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[e.URL.Scheme]
	}
	address := net.JoinHostPort(e.URL.Hostname(), port)
	dialer := net.Dialer{Timeout: openTimeout, KeepAlive: -1}
	if e.URL.Scheme == "https" {
		secure := tls.Dialer{NetDialer: &dialer, Config: e.TLS}
		return secure.DialContext(ctx, "tcp", address)
	}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if isPortShortage(err) {
		err = fmt.Errorf("%w: this machine has no port left to connect from; ask for fewer connections, or run a part of them elsewhere", err)
	}
	return conn, err
}

// subscribe upgrades conn to a WebSocket and subscribes it. A subscription that succeeds is
// silent. An invalid command is answered after the commands before it took effect, so it
// serves as confirmation. subscribe returns what it read beyond that.
func (e *engine) subscribe(conn net.Conn, topic, token string) (early []byte, err error) {
	r := bufio.NewReader(conn)
	if err := e.upgrade(conn, r); err != nil {
		return nil, err
	}
	var commands []byte
	for _, line := range []string{"/subscribe " + topic + " " + token, "/"} {
		commands = appendMasked(commands, wsframe.Text, []byte(line))
	}
	if _, err := conn.Write(commands); err != nil {
		return nil, err
	}
	if err := confirm(r); err != nil {
		return nil, err
	}
	early = make([]byte, r.Buffered())
	_, err = io.ReadFull(r, early)
	return early, err
}

// upgrade does the client's handshake (RFC 6455 section 4.1). r reads from conn.
func (e *engine) upgrade(conn net.Conn, r *bufio.Reader) error {
	var nonce [16]byte
	rand.Read(nonce[:])
	key := base64.StdEncoding.EncodeToString(nonce[:])
	request := &http.Request{Method: http.MethodGet, URL: e.URL.JoinPath("ws"), Header: http.Header{
		"Upgrade":                {"websocket"},
		"Connection":             {"Upgrade"},
		"Sec-WebSocket-Version":  {"13"},
		"Sec-WebSocket-Key":      {key},
		"Sec-WebSocket-Protocol": {"notiflux.v1.text"},
	}}
	if err := request.Write(conn); err != nil {
		return err
	}
	answer, err := http.ReadResponse(r, request)
	switch {
	case err != nil:
		return err
	case answer.StatusCode != http.StatusSwitchingProtocols:
		return fmt.Errorf("the server refused a connection: %w", statusError(answer))
	case answer.Header.Get("Sec-WebSocket-Accept") != wsframe.Accept(key):
		return errors.New("the server's answer to the handshake is not that of a WebSocket")
	}
	return nil
}

// confirm reads the answer to the commands of subscribe. It leaves pings that arrive before
// that answer unanswered, which is fine for so short a time.
func confirm(r io.Reader) error {
	for {
		f, err := wsframe.Read(r, maxAnswerBytes)
		switch answer := string(f.Payload); {
		case err != nil:
			return err
		case f.Opcode() == wsframe.Close:
			code, reason := wsframe.ParseClose(f.Payload)
			return fmt.Errorf("the server closed the connection: %d %s", code, reason)
		case f.Opcode().IsControl():
		case answer != "Unknown command":
			return fmt.Errorf("%w: it answered %.300q", ErrDenied, answer)
		default:
			return nil
		}
	}
}

// sign signs a token for one topic.
func (e *engine) sign(scope auth.Scope, topic string, index int) (string, error) {
	token, err := e.Signer.Sign(auth.Grant{
		Subject:  "bench-" + strconv.Itoa(index),
		Scopes:   []auth.Scope{scope},
		Topics:   []pubsub.Topic{pubsub.Topic(topic)},
		Expires:  e.expires,
		Issued:   e.began,
		Issuer:   e.Issuer,
		Audience: e.Audience,
	})
	return string(token), err
}

// statusError turns an unsuccessful response into an error: the code and the sentence of a
// problem (RFC 9457), or else the HTTP status.
func statusError(response *http.Response) error {
	var problem struct{ Code, Detail string }
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err != nil || json.Unmarshal(body, &problem) != nil || problem.Code == "" {
		return errors.New(response.Status)
	}
	return fmt.Errorf("%s: %s", problem.Code, problem.Detail)
}
