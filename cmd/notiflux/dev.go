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
	"syscall"
	"time"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/server"
)

type devCmd struct {
	Dir string `placeholder:"DIR" help:"Folder that keeps the keys, so that tokens stay valid; made if it is not there."`
}

// Help is shown by -h below the first line.
func (*devCmd) Help() string {
	return "Serves on 127.0.0.1:8080, or another free port if that is taken, and prints tokens and the command lines to try them. Not for production: who reads the screen may publish."
}

const (
	devTopic    = "demo"
	devValidity = 30 * 24 * time.Hour
)

// Run serves until a signal comes.
func (c *devCmd) Run(t *terminal) error {
	signer, err := c.signer()
	if err != nil {
		return err
	}
	settings := config.Default()
	settings.JWTPublicKeyB64 = base64.StdEncoding.EncodeToString(signer.PublicPEM())
	log := newLogger(t.err, "text", slog.LevelWarn)
	return untilSignal(func(ctx context.Context) error {
		s, err := server.Open(settings, log)
		if errors.Is(err, syscall.EADDRINUSE) {
			fmt.Fprintf(t.out, "%s is taken, so this is another port.\n", settings.Address())
			settings.Port = 0
			s, err = server.Open(settings, log)
		}
		if err != nil {
			return err
		}
		if err := c.welcome(t, s.URL(), signer); err != nil {
			return err
		}
		return s.Run(ctx)
	})
}

// signer returns the key in the folder, made now if it is not there, or one
// that is in memory only.
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
		private, _, err = createKeys(c.Dir)
	}
	if err != nil {
		return nil, err
	}
	signer, err := auth.ParsePrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("--dir: %s: %w", path, err)
	}
	return signer, nil
}

// welcome prints one screen, 24 lines of 80 columns: what to paste, and the
// tokens by themselves.
func (c *devCmd) welcome(t *terminal, url string, signer *auth.Signer) error {
	expires := time.Now().Add(devValidity)
	sign := func(scope auth.Scope) (auth.Token, error) {
		return signer.Sign(auth.Grant{Subject: "dev", Scopes: []auth.Scope{scope}, Topics: []notiflux.Topic{devTopic}, Expires: expires})
	}
	subscribe, err := sign(auth.Subscribe)
	if err != nil {
		return err
	}
	broadcast, err := sign(auth.Broadcast)
	if err != nil {
		return err
	}
	kept := "until this ends: the key is in memory, --dir keeps it"
	if c.Dir != "" {
		kept = "until " + expires.Format(time.DateOnly) + ", by the key in " + c.Dir
	}
	_, err = fmt.Fprintf(t.out, `notiflux serves on %[1]s until Ctrl-C.

Subscribe, in a second terminal:
%[2]s subscribe %[3]s --url %[1]s --token %[4]s

Broadcast, in a third:
curl %[1]s/broadcast -d '{"topic":"%[3]s","message":"hello","token":"%[5]s"}'

The tokens for topic %[3]s, valid %[6]s.
subscribe: %[4]s
broadcast: %[5]s
`, url, self(), devTopic, string(subscribe), string(broadcast), kept)
	return err
}
