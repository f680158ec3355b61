package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/explain"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

type explainCmd struct {
	Token string   `arg:"" optional:"" default:"-" help:"Token to explain; by default, or as -, it is read from standard input, because others can see arguments in the process list."`
	Topic []string `sep:"none" placeholder:"TOPIC" help:"Say whether the token allows this topic; can be repeated."`
	JSON  bool     `name:"json" help:"Print JSON, as the admin API answers."`
	Keys  string   `placeholder:"FILE" help:"Use the public keys in this file, as PEM, JWK or JWKS, instead of asking a server; then revocations and settings of the server are not known."`

	Admin adminFlags `embed:""`
}

// Help is shown by -h below the first line.
func (*explainCmd) Help() string {
	return "Says whether a server accepts a token, what it allows, and for a topic why or why not. The server says so through its admin API; with --keys no server is needed. The exit status is 0 if the token, and each topic for one of the scopes, is accepted, otherwise 1."
}

// maxTokenInput is more than the longest token with white space around it.
const maxTokenInput = 64 << 10

// Run explains a token.
func (c *explainCmd) Run(t *terminal) error {
	topics, err := parseEach("--topic", c.Topic, pubsub.ParseTopic)
	if err != nil {
		return err
	}
	text := c.Token
	if text == "-" {
		input, err := io.ReadAll(io.LimitReader(t.in, maxTokenInput))
		if err != nil {
			return fmt.Errorf("read the token: %w", err)
		}
		text = string(input)
	}
	token := auth.Token(strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(text), "Bearer ")))
	if token == "" {
		return usagef("there is no token: write it to standard input")
	}
	report, err := c.explain(token, topics)
	if err != nil {
		return err
	}
	if c.JSON {
		err = writeJSON(t.out, report)
	} else {
		err = report.WriteText(t.out, time.Now())
	}
	if err == nil && !report.AllowsAll() {
		err = errRefused
	}
	return err
}

var errRefused = errors.New("the token or one of the topics is refused; see above")

// explain asks the server, or the keys.
func (c *explainCmd) explain(token auth.Token, topics []pubsub.Topic) (r explain.Report, err error) {
	if c.Keys == "" {
		body := map[string]any{"token": string(token)}
		if len(topics) > 0 {
			body["topics"] = topics
		}
		err = c.Admin.post("explain", body, &r)
		return r, err
	}
	data, err := os.ReadFile(c.Keys)
	if err != nil {
		return r, usagef("--keys: %w", config.FileError(c.Keys, err))
	}
	keys, err := auth.ParseKeys(data)
	if err != nil {
		return r, usagef("--keys: %s: %w", c.Keys, err)
	}
	return explain.Explain(auth.New(auth.Config{Keys: keys}), nil, time.Now(), token, topics...), nil
}
