package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/auth"
)

type subscribeCmd struct {
	Topic []string `arg:"" help:"Topics to subscribe to."`

	Client clientFlags `embed:""`
}

// Help is shown by -h below the first line.
func (*subscribeCmd) Help() string {
	return "Runs until it is interrupted, which is its success. A topic that is refused is told on standard error; when all are refused, or the server ends the connection, it fails."
}

const (
	// dialTimeout is above a slow network's handshake and below a person's patience.
	dialTimeout = 10 * time.Second
	// maxSilence ends a connection that died unnoticed: the server pings every 25 s.
	maxSilence = time.Minute
)

var errSilent = fmt.Errorf("the server was not heard for %v", maxSilence)

// Run prints messages until a signal comes.
func (c *subscribeCmd) Run(t *terminal) error {
	topics := map[string]bool{}
	for _, name := range c.Topic {
		if err := checkTextTopic(name); err != nil {
			return err
		}
		topics[name] = true
	}
	token, err := c.Client.credentials(auth.Subscribe)
	if err != nil {
		return err
	}
	base, err := parseBase(c.Client.URL)
	if err != nil {
		return err
	}
	return untilSignal(func(ctx context.Context) error {
		return subscribe(ctx, t, base, token, topics)
	})
}

// checkTextTopic refuses what the text protocol cannot carry.
func checkTextTopic(name string) error {
	if _, err := notiflux.ParseTopic(name); err != nil {
		return usagef("TOPIC: %w", err)
	}
	if strings.Contains(name, " ") {
		return usagef("TOPIC: %q has a space in it, which the text protocol cannot subscribe to", name)
	}
	return nil
}

// subscribe prints the messages of topics until ctx ends, which is no error.
func subscribe(ctx context.Context, t *terminal, base *url.URL, token string, topics map[string]bool) error {
	reading, giveUp := context.WithCancelCause(context.WithoutCancel(ctx))
	defer giveUp(nil)
	silence := time.AfterFunc(maxSilence, func() { giveUp(errSilent) })
	defer silence.Stop()

	conn, err := dial(ctx, base, func() { silence.Reset(maxSilence) })
	if err != nil {
		return quietly(ctx, err)
	}
	defer conn.CloseNow()
	stop := context.AfterFunc(ctx, func() { conn.Close(websocket.StatusNormalClosure, "") })
	defer stop()

	for _, topic := range slices.Sorted(maps.Keys(topics)) {
		if err := conn.Write(reading, websocket.MessageText, []byte("/subscribe "+topic+" "+token)); err != nil {
			return quietly(ctx, unreachable(base, err))
		}
	}
	for len(topics) > 0 {
		_, message, err := conn.Read(reading)
		if err != nil {
			return quietly(ctx, ended(reading, err))
		}
		silence.Reset(maxSilence)
		if topic, ok := denied(string(message), topics); ok {
			delete(topics, topic)
			fmt.Fprintf(t.err, "%s\n", message)
		} else if _, err := fmt.Fprintf(t.out, "%s\n", message); err != nil {
			return err
		}
	}
	return errors.New("every subscription was denied")
}

// dial connects to the text protocol; heard is called at each ping.
func dial(ctx context.Context, base *url.URL, heard func()) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, response, err := websocket.Dial(ctx, base.JoinPath("ws").String(), &websocket.DialOptions{
		HTTPClient:     &http.Client{CheckRedirect: stay},
		Subprotocols:   []string{"notiflux.v1.text"},
		OnPingReceived: func(context.Context, []byte) bool { heard(); return true },
	})
	switch {
	case err == nil:
		conn.SetReadLimit(maxMessageBytes)
		return conn, nil
	case response != nil && response.StatusCode != http.StatusSwitchingProtocols:
		return nil, unreachable(base, refusal(response))
	}
	return nil, unreachable(base, err)
}

// denied reports whether a line is the answer to a refused subscription, and
// of which of topics. The text protocol has no other sign than the form of the
// line, so it is believed once per topic.
func denied(line string, topics map[string]bool) (topic string, ok bool) {
	for topic := range topics {
		if strings.HasPrefix(line, "Subscribe to "+topic+" denied: ") {
			return topic, true
		}
	}
	return "", false
}

// ended says why a connection ended.
func ended(reading context.Context, err error) error {
	if cause := context.Cause(reading); cause != nil {
		return cause
	}
	if e, ok := errors.AsType[websocket.CloseError](err); ok {
		return fmt.Errorf("the server closed the connection: %d %s", e.Code, e.Reason)
	}
	return fmt.Errorf("the connection broke: %w", err)
}

// quietly returns nil in place of an error that comes from being interrupted.
func quietly(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
