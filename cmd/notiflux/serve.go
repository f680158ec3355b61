package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/server"
)

type serveCmd struct {
	Check bool `help:"Check all settings, and exit without starting the server."`

	Config config.Serve `embed:""`
}

// Help is shown by -h below the first line.
func (*serveCmd) Help() string {
	return "Clients connect to /ws or /events, and publishers post to /broadcast. Every setting is a flag, the environment variable shown with it, or a line of the file that --config names; the flag wins over the variable, and the variable over the file. SIGINT, SIGTERM or SIGHUP shuts down gracefully; a second SIGINT or SIGTERM ends the server at once."
}

// Validate checks all settings together. The parser calls it.
func (c *serveCmd) Validate() error { return server.Check(c.Config) }

// Run serves until a signal arrives.
func (c *serveCmd) Run(t *terminal, known variables) error {
	log, flush := openLog(t.err, c.Config)
	defer func() {
		if !flush() {
			t.err = io.Discard // A reader that does not read the log would not read an error either.
		}
	}()
	known.warn(os.Environ(), log)
	if c.Check {
		fmt.Fprintln(t.err, "notiflux: the settings are valid")
		return nil
	}
	limitMemory(memlimit.FromCgroup, log)
	outliveReaders()
	return untilSignal(func(ctx context.Context) error {
		s, err := server.Open(c.Config, server.Environment{}, log)
		if err != nil {
			return err
		}
		return s.Run(ctx)
	})
}

func newLogger(w io.Writer, format string, level slog.Level) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
