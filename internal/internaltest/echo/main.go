// Echo sends every WebSocket message back, by the transport and the loops of
// notiflux, with limits wide enough for outside test suites:
//
//	go run ./internal/internaltest/echo -addr 127.0.0.1:9001 [-portable] [-compression]
//
// It is for tests and is not released.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/ikornaselur/notiflux/internal/transport"
)

const maxMessage = 16 << 20 // bytes

// wide returns limits for suites that go to the edges of RFC 6455.
func wide() transport.Config {
	return transport.Config{MaxMessageBytes: maxMessage, MaxFragments: -1, MessageTimeout: -1, ControlRate: -1}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "echo:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends. It logs to log where it listens.
func run(ctx context.Context, args []string, log io.Writer) error {
	flags := flag.NewFlagSet("echo", flag.ContinueOnError)
	flags.SetOutput(log)
	addr := flags.String("addr", "127.0.0.1:9001", "address to listen on; port 0 is any free one")
	portable := flags.Bool("portable", false, "serve by goroutines, also where there is epoll")
	compression := flags.Bool("compression", false, "agree on permessage-deflate")
	if err := flags.Parse(args); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(log, nil))
	logger.Info("listening", "url", "http://"+listener.Addr().String())
	return newServer(wide(), *portable, *compression, logger).run(ctx, listener)
}
