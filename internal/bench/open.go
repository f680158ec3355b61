package bench

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/auth"
)

const (
	// openers is how many handshakes are under way at once: enough to keep a
	// server busy, and less than its queue of connections to be accepted.
	openers = 128
	// openTimeout is for one connection, up to the confirmed subscription.
	openTimeout = 20 * time.Second
)

// open opens all connections. It is an error when the very first one cannot be:
// what is wrong is then wrong with all of them. Others that cannot are counted.
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

// pause waits, and returns ctx.Err() if ctx ends before.
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

// connect opens one connection, subscribes it, and gives it to its lane when
// the server has confirmed that. Each has a token of its own, as clients do.
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

// dial opens a connection to the server, with TLS if its address says so.
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

// subscribe makes conn a WebSocket and subscribes it. A subscription is silent;
// a command that is none is answered, after what came before it has taken
// effect. It returns what was read too much.
func (e *engine) subscribe(conn net.Conn, topic, token string) (early []byte, err error) {
	target := *e.URL.JoinPath("ws")
	target.Scheme = strings.Replace(target.Scheme, "http", "ws", 1)
	var refused error
	dialer := ws.Dialer{
		Protocols: []string{"notiflux.v1.text"},
		OnStatusError: func(_ int, _ []byte, response io.Reader) {
			if r, err := http.ReadResponse(bufio.NewReader(response), nil); err == nil {
				refused = fmt.Errorf("the server refused a connection: %w", statusError(r))
			}
		},
	}
	buffered, _, err := dialer.Upgrade(conn, &target)
	if err != nil {
		if refused != nil {
			err = refused
		}
		return nil, err
	}
	if buffered != nil {
		defer ws.PutReader(buffered)
	}
	var commands []byte
	for _, line := range []string{"/subscribe " + topic + " " + token, "/"} {
		commands = append(commands, ws.MustCompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte(line))))...)
	}
	if _, err := conn.Write(commands); err != nil {
		return nil, err
	}
	return confirm(conn, buffered)
}

// confirm reads the answer to the commands of subscribe.
func confirm(conn net.Conn, buffered *bufio.Reader) (early []byte, err error) {
	reader := io.Reader(conn)
	if buffered != nil {
		reader = buffered
	}
	answer, err := wsutil.ReadServerText(struct {
		io.Reader
		io.Writer
	}{reader, conn})
	switch {
	case err != nil:
		return nil, err
	case string(answer) != "Unknown command":
		return nil, fmt.Errorf("%w: it answered %.300q", ErrDenied, answer)
	}
	if buffered != nil {
		early = make([]byte, buffered.Buffered())
		_, err = io.ReadFull(buffered, early)
	}
	return early, err
}

// sign makes a token for one topic.
func (e *engine) sign(scope auth.Scope, topic string, index int) (string, error) {
	token, err := e.Signer.Sign(auth.Grant{
		Subject: "bench-" + strconv.Itoa(index),
		Scopes:  []auth.Scope{scope},
		Topics:  []notiflux.Topic{notiflux.Topic(topic)},
		Expires: e.expires,
	})
	return string(token), err
}

// statusError returns an answer that is no success as an error: the code and
// the sentence if it is a problem (RFC 9457) of the server's, else its status.
func statusError(response *http.Response) error {
	var problem struct{ Code, Detail string }
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err != nil || json.Unmarshal(body, &problem) != nil || problem.Code == "" {
		return errors.New(response.Status)
	}
	return fmt.Errorf("%s: %s", problem.Code, problem.Detail)
}
