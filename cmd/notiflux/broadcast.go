package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
	"unicode/utf8"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/auth"
)

type broadcastCmd struct {
	Topic   string `arg:"" help:"Topic to publish to."`
	Message string `arg:"" help:"Text to publish, after -- if it begins with a dash; - publishes each line of standard input."`

	Client clientFlags `embed:""`
}

// Help is shown by -h below the first line.
func (*broadcastCmd) Help() string {
	return "Prints nothing when the server took everything. Lines of standard input are published in order, and the first one that is refused ends it."
}

const (
	// maxMessageBytes is the most that any server takes; a longer line is no message.
	maxMessageBytes = 8 << 20
	// broadcastTimeout is longer than a server that means to answer takes.
	broadcastTimeout = 30 * time.Second
)

// Run publishes one message, or the lines of standard input.
func (c *broadcastCmd) Run(t *terminal) error {
	topic, err := notiflux.ParseTopic(c.Topic)
	if err != nil {
		return usagef("TOPIC: %w", err)
	}
	token, err := c.Client.credentials(auth.Broadcast)
	if err != nil {
		return err
	}
	base, err := parseBase(c.Client.URL)
	if err != nil {
		return err
	}
	p := publisher{
		http:  &http.Client{Timeout: broadcastTimeout, CheckRedirect: stay},
		base:  base,
		topic: topic,
		token: token,
	}
	if c.Message == "-" {
		return p.publishLines(t.in)
	}
	return p.publish(c.Message)
}

// publisher publishes to one topic.
type publisher struct {
	http  *http.Client
	base  *url.URL
	topic notiflux.Topic
	token string
}

// publishLines publishes each line of r, without its end.
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
		return fmt.Errorf("line %d has more than %d bytes, which no server takes", n+1, maxMessageBytes)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("line %d: %w", n+1, err)
	}
	return nil
}

// publish returns nil once the server has ordered the message.
func (p *publisher) publish(message string) error {
	if !utf8.ValidString(message) {
		return errors.New("the message is not UTF-8, so it cannot be published as text")
	}
	body, err := json.Marshal(map[string]string{"topic": string(p.topic), "message": message})
	if err != nil {
		return err
	}
	request, err := http.NewRequest(http.MethodPost, p.base.JoinPath("broadcast").String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+p.token)
	response, err := p.http.Do(request)
	if err != nil {
		return unreachable(p.base, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("broadcast to %q: %w", p.topic, refusal(response))
	}
	_, err = io.Copy(io.Discard, io.LimitReader(response.Body, maxProblemBytes)) // so that the connection is used again
	return err
}
