package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

type tokenCmd struct {
	Key     string        `default:"es256_private.pem" help:"PEM file with the private key, made by notiflux keys or openssl."`
	Scope   []auth.Scope  `required:"" enum:"subscribe,broadcast" help:"Actions that the token allows: subscribe, broadcast, or both separated by a comma."`
	Topic   []string      `sep:"none" help:"Topic that the token allows; can be repeated."`
	Pattern []string      `sep:"none" help:"Beginning of topics that the token allows, followed by *; can be repeated. '*' allows to broadcast to every topic."`
	Sub     string        `default:"cli" help:"Subject: the user that the token is for."`
	Exp     time.Duration `default:"1h" help:"How long the token is valid, for example 90s, 30m or 720h."`
	Until   time.Duration `placeholder:"DURATION" help:"Time from now after which the server ends all subscriptions made with the token; no limit by default."`
	Iss     string        `placeholder:"ISS" help:"Issuer of the token, for a server with --jwt-issuer."`
	Aud     string        `placeholder:"AUD" help:"Audience of the token, for a server with --jwt-audience."`
	Jti     string        `placeholder:"ID" help:"Identifies the token, so that notiflux revoke can revoke it alone."`
	Info    string        `placeholder:"JSON" help:"Data that the other members of a topic see next to --sub (presence): a JSON object of up to 1 KiB."`
}

// Help is shown by -h below the first line.
func (*tokenCmd) Help() string { return "Prints the token and nothing else." }

// Run prints a token.
func (c *tokenCmd) Run(t *terminal) error {
	if c.Exp <= 0 {
		return usagef("--exp is %v; use a duration above zero, such as 1h", c.Exp)
	}
	if c.Until < 0 {
		return usagef("--until is %v; use a duration above zero, such as 1h", c.Until)
	}
	topics, err := parseEach("--topic", c.Topic, pubsub.ParseTopic)
	if err != nil {
		return err
	}
	patterns, err := parseEach("--pattern", c.Pattern, pubsub.ParsePattern)
	if err != nil {
		return err
	}
	if len(topics)+len(patterns) == 0 {
		return usagef("the token would allow no topic: add --topic, --pattern, or both")
	}
	signer, err := readSigner(c.Key)
	if err != nil {
		return err
	}
	grant := auth.Grant{Subject: c.Sub, Scopes: c.Scope, Topics: topics, Patterns: patterns, Expires: time.Now().Add(c.Exp), ID: c.Jti, Issued: time.Now(), Issuer: c.Iss, Audience: c.Aud}
	if c.Until > 0 {
		grant.Until = time.Now().Add(c.Until)
	}
	if c.Info != "" {
		if !json.Valid([]byte(c.Info)) {
			return usagef("--info is not JSON: use an object such as '{\"name\":\"Ann\"}'")
		}
		grant.Info = json.RawMessage(c.Info)
	}
	token, err := signer.Sign(grant)
	if err != nil {
		return err
	}
	noteStars(t, topics)
	_, err = fmt.Fprintln(t.out, string(token))
	return err
}

// parseEach parses the values of a flag.
func parseEach[T pubsub.Topic | pubsub.Pattern](flag string, values []string, parse func(string) (T, error)) ([]T, error) {
	all, err := pubsub.AppendParsed(nil, values, parse)
	if err != nil {
		return nil, usagef("%s: %w", flag, err)
	}
	return all, nil
}

// noteStars says what --topic means for values that look like patterns.
func noteStars(t *terminal, topics []pubsub.Topic) {
	for _, topic := range topics {
		if strings.HasSuffix(string(topic), "*") {
			fmt.Fprintf(t.err, "notiflux: --topic %q is the one topic with exactly this name; --pattern %q means every topic with this beginning\n", topic, topic)
		}
	}
}

// readSigner reads the private key in a file.
func readSigner(path string) (*auth.Signer, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--key: %w; use a private key file, such as one made by `notiflux keys`", config.FileError(path, err))
	}
	signer, err := auth.ParsePrivateKey(pem)
	if err != nil {
		return nil, fmt.Errorf("--key: %s: %w", path, err)
	}
	return signer, nil
}
