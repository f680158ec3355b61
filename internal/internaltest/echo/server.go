package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/ikornaselur/notiflux/internal/loop"
	"github.com/ikornaselur/notiflux/internal/transport"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// A server echoes on one loop.
type server struct {
	// Immutable after newServer.
	loop      *loop.Loop
	upgrader  transport.Upgrader
	plain     transport.Config
	deflating transport.Config // of clients that compression was agreed on with

	deflater wire.Deflater // owned by the loop
}

func newServer(limits transport.Config, portable, compression bool, log *slog.Logger) *server {
	s := &server{
		loop:      loop.New(loop.Config{Portable: portable, Log: log}),
		upgrader:  transport.Upgrader{Compression: compression},
		plain:     limits,
		deflating: limits,
	}
	s.deflating.Inflaters = new(transport.Inflaters)
	return s
}

// run serves until ctx ends. Its goroutines are the loop, the listener, and
// those that net/http and portable sockets start per connection.
func (s *server) run(ctx context.Context, listener net.Listener) error {
	var running sync.WaitGroup
	defer running.Wait()
	looping, stop := context.WithCancel(ctx)
	defer stop()
	running.Go(func() { s.loop.Run(looping) })

	h := &http.Server{Handler: s, ReadHeaderTimeout: 5 * time.Second}
	defer context.AfterFunc(ctx, func() { h.Close() })()
	if err := h.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// ServeHTTP makes every request a WebSocket.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h, err := s.upgrader.Upgrade(w, r)
	if err != nil {
		wire.WriteProblem(w, err) // Goes nowhere if the connection is gone.
		return
	}
	config, app := &s.plain, new(echo)
	if h.Deflate {
		config, app.deflater = &s.deflating, &s.deflater
	}
	s.loop.Serve(h.Conn, h.Early, func(c *loop.Conn, now time.Duration) loop.Client {
		app.conn = transport.NewWebSocket(config, c, now)
		app.conn.Serve(app)
		return app.conn
	})
}
