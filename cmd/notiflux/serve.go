package main

import (
	"context"
	"io"
	"log/slog"

	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/server"
)

type serveCmd struct {
	Config config.Serve `embed:""` // judged by its Validate, which the parser calls
}

// Help is shown by -h below the first line.
func (*serveCmd) Help() string {
	return "Clients connect to /ws, publishers to /broadcast. Every setting is a flag or the variable shown with it; the flag wins. SIGINT or SIGTERM shuts down gracefully, a second one at once."
}

// Run serves until a signal comes.
func (c *serveCmd) Run(t *terminal) error {
	log := newLogger(t.err, c.Config.LogFormat, c.Config.LogLevel)
	return untilSignal(func(ctx context.Context) error {
		s, err := server.Open(c.Config, log)
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
