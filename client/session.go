package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/go-json-experiment/json"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

const (
	subprotocol = "notiflux.v1.json"

	// handshakeTimeout is above a slow network's handshake and below a person's
	// patience.
	handshakeTimeout = 10 * time.Second
	// writeTimeout is longer than a living connection blocks for a command.
	writeTimeout = 10 * time.Second

	// defaultPing is how often a server pings that does not say it.
	defaultPing = 25 * time.Second
	// silenceSlack is added to two pings: what a slow network may delay one.
	silenceSlack = 10 * time.Second

	// frameOverhead bounds what a frame has besides a message. The most is a list of
	// 1,000 members: each has 1 KiB of info, and a name of 255 bytes that JSON makes
	// six times as long, as it may a message.
	frameOverhead = 4 << 20
	frameGrowth   = 6
	// keptBuffer is how large a buffer may be that is kept for the next frame.
	keptBuffer = 1 << 20

	defaultMessage          = 64 << 10
	defaultCommand          = 80 << 10
	defaultTopicsPerCommand = 100

	// maxProblemBytes is what the WebSocket package keeps of a refusal.
	maxProblemBytes = 1 << 10
)

// errSilent is why a session ends in which nothing was heard.
var errSilent = errors.New("the server was not heard")

// errProtocol is why a session ends in which the server does not speak the
// protocol.
var errProtocol = errors.New("the server does not speak " + subprotocol)

// A session is one connection, from the server's welcome to its end. Without a
// socket it is the event streams that stand for one, or one of them.
type session struct {
	// Immutable after connect.
	socket     *websocket.Conn // nil: see relay
	number     uint64
	connection string // as the server names it; empty: it does not, or there are several
	limits     limits
	ping       time.Duration
	silence    *time.Timer             // ends reading; stopped while a subscriber takes its time
	reading    context.Context         // not the caller's: ends when the socket is given up
	cut        context.CancelCauseFunc // ends reading

	pinged atomic.Int64 // when the server last pinged, in Unix nanoseconds
	opened atomic.Bool  // the server has let the client in

	// Owned by the goroutine that reads.
	buffer bytes.Buffer
	bye    frame

	// Owned by the goroutine that commands.
	ids      int64
	first    time.Time // when a command was sent first; zero: not yet
	attempts int       // how often topics were refused for now

	// Guarded by Client.mu.
	pending map[int64][]*topicSubscription // what a subscribe command was about, by its id
	listing map[int64]*topicSubscription   // likewise for presence commands
}

// dialSocket opens a session over a WebSocket: it dials, and waits for the welcome.
func (c *Client) dialSocket(ctx context.Context) (_ *session, err error) {
	if _, _, err := c.tokens.get(ctx); err != nil {
		return nil, err
	}
	ctx, sent := watchSending(ctx)
	shaking, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	s := &session{pending: map[int64][]*topicSubscription{}, listing: map[int64]*topicSubscription{}}
	s.reading, s.cut = context.WithCancelCause(context.Background())
	defer func() {
		if err != nil {
			s.cut(nil)
		}
	}()
	s.silence = time.AfterFunc(2*defaultPing+silenceSlack, func() { s.cut(errSilent) })
	socket, response, err := websocket.Dial(shaking, c.base.JoinPath("ws").String(), &websocket.DialOptions{
		HTTPClient:     c.http,
		Subprotocols:   []string{subprotocol},
		OnPingReceived: func(context.Context, []byte) bool { s.heardPing(); return true },
	})
	if err != nil {
		s.silence.Stop()
		err = refusal(response, err)
		if response == nil && sent.Load() && ctx.Err() == nil {
			err = &interruption{err}
		}
		return nil, err
	}
	s.socket = socket
	if err := s.welcome(shaking); err != nil {
		s.end()
		if _, said := errors.AsType[*CloseError](err); !said && err != errProtocol && ctx.Err() == nil {
			err = &interruption{err}
		}
		return nil, err
	}
	s.opened.Store(true)
	return s, nil
}

// welcome reads the first frame.
func (s *session) welcome(ctx context.Context) error {
	if s.socket.Subprotocol() != subprotocol {
		return errProtocol
	}
	s.socket.SetReadLimit(frameOverhead)
	_, data, err := s.socket.Read(ctx)
	if err != nil {
		return closed(err, frame{})
	}
	f, err := parseFrame(data)
	if err != nil {
		return err
	}
	if f.Type != "welcome" {
		return errProtocol
	}
	s.connection = f.Connection
	s.ping = orDefault(time.Duration(f.Ping)*time.Second, defaultPing)
	s.limits = limits{
		Message:          orDefault(f.Limits.Message, defaultMessage),
		Command:          orDefault(f.Limits.Command, defaultCommand),
		TopicsPerCommand: orDefault(f.Limits.TopicsPerCommand, defaultTopicsPerCommand),
	}
	s.socket.SetReadLimit(frameOverhead + frameGrowth*s.limits.Message)
	s.heardPing()
	return nil
}

func orDefault[T int | int64 | time.Duration](n, otherwise T) T {
	if n > 0 {
		return n
	}
	return otherwise
}

// heard puts off the end of a session in which nothing is heard.
func (s *session) heard() { s.silence.Reset(2*orDefault(s.ping, defaultPing) + silenceSlack) }

func (s *session) heardPing() {
	s.pinged.Store(time.Now().UnixNano())
	s.heard()
}

// read returns the next frame. Its bytes are valid until the next call.
func (s *session) read() ([]byte, error) {
	kind, r, err := s.socket.Reader(s.reading)
	if err != nil {
		return nil, s.why(err)
	}
	if kind != websocket.MessageText {
		return nil, errProtocol
	}
	s.buffer.Reset()
	if s.buffer.Cap() > keptBuffer {
		s.buffer = bytes.Buffer{}
	}
	if _, err := s.buffer.ReadFrom(pieces{r, s}); err != nil {
		return nil, s.why(err)
	}
	return s.buffer.Bytes(), nil
}

// pieces are the parts of a frame; each is a sign of life.
type pieces struct {
	io.Reader
	s *session
}

func (p pieces) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	p.s.heard()
	return n, err
}

// write sends a command.
func (s *session) write(c *command) error {
	data, err := c.encode()
	if err != nil {
		return err
	}
	if s.first.IsZero() {
		s.first = time.Now()
	}
	ctx, cancel := context.WithTimeout(s.reading, writeTimeout)
	defer cancel()
	return s.socket.Write(ctx, websocket.MessageText, data)
}

// end frees what a session holds.
func (s *session) end() {
	if s.socket == nil {
		return // each event stream frees what it holds
	}
	s.silence.Stop()
	_ = s.socket.CloseNow() // nothing is to be sent any more
	s.cut(nil)
}

// why returns the reason for the end of a session in place of what reading made
// of it.
func (s *session) why(err error) error {
	if cause := context.Cause(s.reading); cause != nil {
		return cause
	}
	return closed(err, s.bye)
}

// closed returns err as a [CloseError] if the server closed the connection.
func closed(err error, bye frame) error {
	if e, ok := errors.AsType[websocket.CloseError](err); ok {
		return &CloseError{Code: int(e.Code), Reason: e.Reason, Bye: bye.Code, After: time.Duration(bye.After) * time.Millisecond}
	}
	return fmt.Errorf("the connection broke: %w", err)
}

// refusal returns why a handshake failed.
func refusal(response *http.Response, err error) error {
	if response == nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			return e.Err // the address is told by Dial
		}
		return err
	}
	if response.StatusCode == http.StatusSwitchingProtocols {
		return errProtocol
	}
	return statusError(response)
}

// statusError returns an answer that is no success as an error.
func statusError(response *http.Response) *StatusError {
	e := &StatusError{Status: response.StatusCode, After: retryAfter(response.Header.Get("Retry-After"))}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxProblemBytes))
	var problem struct {
		Code   pubsub.Code `json:"code"`
		Detail string      `json:"detail"`
	}
	if err == nil && json.Unmarshal(body, &problem) == nil && problem.Code != "" {
		e.Err = &pubsub.Error{Code: problem.Code, Detail: problem.Detail}
	}
	return e
}

// retryAfter reads a Retry-After header (RFC 9110 section 10.2.3); 0: there is
// none that means anything.
func retryAfter(value string) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}
