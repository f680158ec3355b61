package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"
	"unicode/utf8"

	"github.com/ikornaselur/notiflux/client"
	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

type broadcastCmd struct {
	Topic   string `arg:"" help:"Topic to publish to."`
	Message string `arg:"" help:"Text to publish; - publishes each line of standard input. Write -- before a text that begins with a dash."`

	Key     string        `placeholder:"KEY" help:"Idempotency key: if a message with this key is sent several times within two minutes, the server publishes only the first. By default each message gets a random key, so that retries publish it only once. Cannot be used when the message is -."`
	Timeout time.Duration `default:"30s" help:"How long to keep retrying each message while the server is unreachable or over capacity."`

	Client clientFlags `embed:""`
}

// Help is shown by -h below the first line.
func (*broadcastCmd) Help() string {
	return "Prints nothing when the server accepted everything. Lines of standard input are published in order; the command stops at the first line that the server refuses."
}

// maxMessageBytes is the largest limit that a server can set. A longer line is an error.
const maxMessageBytes = 8 << 20

// Run publishes one message, or the lines of standard input.
func (c *broadcastCmd) Run(t *terminal) error {
	if _, err := pubsub.ParseTopic(c.Topic); err != nil {
		return usagef("TOPIC: %w", err)
	}
	base, options, err := c.Client.server(auth.Broadcast)
	if err != nil {
		return err
	}
	switch {
	case c.Key != "" && c.Message == "-":
		return usagef(`--key is for one message, but the argument "-" publishes every line of standard input: give the message as an argument`)
	case c.Timeout <= 0:
		return usagef("--timeout is %v; use a duration above zero, such as 10s", c.Timeout)
	}
	caller, err := client.New(base.String(), options)
	if err != nil {
		return err
	}
	defer caller.Close()
	p := publisher{client: caller, base: base, topic: c.Topic, key: c.Key, timeout: c.Timeout}
	if c.Message == "-" {
		return p.publishLines(t.in)
	}
	return p.publish(c.Message)
}

// publisher publishes to one topic.
type publisher struct {
	client  *client.Client
	base    *url.URL
	topic   string
	key     string
	timeout time.Duration
}

// publishLines publishes each line of r without its line ending.
func (p *publisher) publishLines(r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxMessageBytes+2)
	n := 0
	for lines.Scan() {
		n++
		if err := p.publish(lines.Text()); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return fmt.Errorf("line %d has more than %d bytes, the limit for a message", n+1, maxMessageBytes)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("line %d: %w", n+1, err)
	}
	return nil
}

// publish publishes one message. It returns nil once the server has stored it.
func (p *publisher) publish(message string) error {
	if !utf8.ValidString(message) {
		return errors.New("the message is not UTF-8, so it cannot be published as text")
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), p.timeout, fmt.Errorf("gave up after %v", p.timeout))
	defer cancel()
	err := p.client.PublishAll(ctx, []client.Publication{{Topic: p.topic, Data: []byte(message), Key: p.key}})[0].Err
	_, answered := errors.AsType[*client.Error](err)
	if err == nil || answered {
		return err
	}
	return unreachable("url", p.base, err)
}
