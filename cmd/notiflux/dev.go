package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/server"
)

type devCmd struct {
	Dir   string `placeholder:"DIR" help:"Directory for the keys, so that tokens stay valid after a restart; created if missing."`
	Port  *int   `env:"PORT" placeholder:"PORT" help:"Port to listen on; 0 means any free port. By default 8080, or a free port if 8080 is in use."`
	Topic string `default:"demo" help:"Topic that the tokens allow."`

	Broker string `env:"NOTIFLUX_BROKER" default:"memory" help:"Where the server keeps messages: memory, or the URL of Redis or Valkey, such as redis://127.0.0.1:6379."`
}

// Help is shown by -h below the first line.
func (*devCmd) Help() string {
	return "Listens on 127.0.0.1 and prints commands to try, with tokens in them. Not for production: anyone who sees the output can publish."
}

const devValidity = 30 * 24 * time.Hour

// Run serves until a signal arrives.
func (c *devCmd) Run(t *terminal) error {
	topic, err := pubsub.ParseTopic(c.Topic)
	if err != nil {
		return usagef("--topic: %w", err)
	}
	signer, err := c.signer()
	if err != nil {
		return err
	}
	settings := config.Default()
	settings.Broker = c.Broker
	if c.Port != nil {
		settings.Port = *c.Port
	}
	settings.JWTPublicKeyB64 = base64.StdEncoding.EncodeToString(signer.PublicPEM())
	log := newLogger(t.err, "text", slog.LevelWarn)
	outliveReaders()
	return untilSignal(func(ctx context.Context) error {
		s, err := server.Open(settings, server.Environment{}, log)
		if c.Port == nil && errors.Is(err, syscall.EADDRINUSE) {
			fmt.Fprintf(t.out, "%s is taken, so this is another port.\n", settings.Address())
			settings.Port = 0
			s, err = server.Open(settings, server.Environment{}, log)
		}
		if err != nil {
			return err
		}
		if err := c.welcome(t, s.URL(), topic, signer); err != nil {
			return err
		}
		return s.Run(ctx)
	})
}

// signer returns the key in --dir, which it creates if it is missing. Without --dir it
// returns a new key that exists only in memory.
func (c *devCmd) signer() (*auth.Signer, error) {
	if c.Dir == "" {
		private, _, err := auth.GenerateKey()
		if err != nil {
			return nil, err
		}
		return auth.ParsePrivateKey(private)
	}
	path := filepath.Join(c.Dir, privateKeyFile)
	private, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if private, _, err = createKeys(c.Dir); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, fmt.Errorf("--dir: %w", config.FileError(path, err))
	}
	signer, err := auth.ParsePrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("--dir: %s: %w", path, err)
	}
	return signer, nil
}

// welcome prints one screen of 24 lines and 80 columns: commands to paste, each with a token.
func (c *devCmd) welcome(t *terminal, url string, topic pubsub.Topic, signer *auth.Signer) error {
	expires := time.Now().Add(devValidity)
	sign := func(scope auth.Scope) (auth.Token, error) {
		return signer.Sign(auth.Grant{Subject: "dev", Scopes: []auth.Scope{scope}, Topics: []pubsub.Topic{topic}, Expires: expires})
	}
	subscribe, err := sign(auth.Subscribe)
	if err != nil {
		return err
	}
	broadcast, err := sign(auth.Broadcast)
	if err != nil {
		return err
	}
	kept := "until this server stops; use --dir to keep its key"
	if c.Dir != "" {
		kept = "until " + expires.Format(time.DateOnly) + ", with the key in " + c.Dir
	}
	flags := "--url " + url + " --token " + string(subscribe)
	words := "subscribe " + shellQuote(string(topic)) + " " + flags
	if strings.HasPrefix(string(topic), "-") {
		words = "subscribe " + flags + " -- " + shellQuote(string(topic))
	}
	name, err := quoteJSON(string(topic))
	if err != nil {
		return err
	}
	body := `{"topic":` + name + `,"message":"hello","token":"` + string(broadcast) + `"}`
	_, err = fmt.Fprintf(t.out, `notiflux serves on %[1]s (Ctrl-C stops it).

Subscribe, in a second terminal:
%[2]s %[3]s

Publish, in a third:
curl %[1]s/broadcast -d %[4]s

The tokens in these commands allow topic %[5]s and are valid
%[6]s.
`, url, self(), words, shellQuote(body), name, kept)
	return err
}

// quoteJSON returns s as a JSON string.
func quoteJSON(s string) (string, error) {
	var b strings.Builder
	err := writeJSON(&b, s)
	return strings.TrimSuffix(b.String(), "\n"), err
}
