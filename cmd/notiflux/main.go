// Command notiflux is the server and everything around it in one binary: it
// serves, makes keys and tokens, publishes and subscribes.
//
// A file per command. Each is a struct whose tags are its flags and arguments,
// and whose Run does the work; main parses, runs one of them, and turns its
// error into a line on standard error and an exit status: 0 for success, 1 for
// a failure, 2 for a wrong usage. What another program may want to read goes
// to standard output and nothing else does.
//
// Settings that can come from the environment are named with their variable,
// in -h and in errors alike. Tokens are never shown by an error.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/ikornaselur/notiflux/internal/bench"
)

type commands struct {
	Serve     serveCmd     `cmd:"" help:"Run a server."`
	Dev       devCmd       `cmd:"" help:"Run a server to try things out with: no configuration, keys and tokens included."`
	Keys      keysCmd      `cmd:"" help:"Make a key pair for tokens."`
	Token     tokenCmd     `cmd:"" help:"Make a token."`
	Broadcast broadcastCmd `cmd:"" help:"Publish to a topic."`
	Subscribe subscribeCmd `cmd:"" help:"Print the messages of topics, a line each."`
	Bench     benchCmd     `cmd:"" help:"Load a server, and tell how it bore that."`
	Health    healthCmd    `cmd:"" help:"Tell by the exit status whether a server is alive."`
	Version   versionCmd   `cmd:"" help:"Print the version."`
}

// terminal is where a command reads and writes.
type terminal struct {
	in       io.Reader
	out, err io.Writer
}

func main() {
	os.Exit(run(os.Args[1:], &terminal{os.Stdin, os.Stdout, os.Stderr}))
}

// run executes one command line and returns its exit status.
func run(args []string, t *terminal) int {
	helped := false
	parser, err := kong.New(new(commands),
		kong.Name("notiflux"),
		kong.Description("A real-time publish/subscribe server, and the tools around it."),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Writers(t.out, t.err),
		kong.Vars{"minMessageBytes": strconv.Itoa(bench.MinMessageBytes)},
		kong.Exit(func(int) { helped = true }), // called by -h alone, which then goes on parsing
	)
	if err != nil {
		panic(err) // the tags of the commands are wrong
	}
	parsed, err := parser.Parse(args)
	if helped {
		return 0
	}
	if err == nil {
		err = parsed.Run(t)
	}
	if err == nil {
		return 0
	}
	return t.complain(err)
}

// complain prints err and returns the exit status that it stands for.
func (t *terminal) complain(err error) int {
	if parse, ok := errors.AsType[*kong.ParseError](err); ok {
		err = explain(parse)
	}
	fmt.Fprintf(t.err, "notiflux: %s\n", tokenLike.ReplaceAllLiteralString(err.Error(), "REDACTED"))
	if _, ok := errors.AsType[usageError](err); ok {
		return 2
	}
	return 1
}

// tokenLike finds what may be a token: one that was pasted in the wrong place
// must not reach a screen or a log by way of an error.
var tokenLike = regexp.MustCompile(`eyJ[\w-]*\.[\w.-]*`)

// A usageError says that the command line or the environment is wrong, not
// what was done with it.
type usageError struct{ error }

func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

// explain adds to an error of the parser what the parser does not tell: the
// variable of the flag that it is about, and where help is.
func explain(err *kong.ParseError) error {
	help, text := "notiflux -h", err.Error()
	if err.Context != nil {
		if selected := err.Context.Selected(); selected != nil {
			help = selected.FullPath() + " -h"
		}
		for _, f := range err.Context.Flags() {
			if rest, ok := strings.CutPrefix(text, "--"+f.Name+":"); ok && len(f.Envs) > 0 {
				text = "--" + f.Name + " (" + f.Envs[0] + "):" + rest
			}
		}
	}
	return usagef("%s\nSee %s", text, help)
}

// untilSignal calls work with a context that ends at the first SIGINT or
// SIGTERM. At the second one it returns an error without waiting for work,
// whose goroutine then ends with the process.
func untilSignal(work func(context.Context) error) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)

	done := make(chan error, 1)
	go func() { done <- work(ctx) }()
	for {
		select {
		case err := <-done:
			return err
		case s := <-signals:
			if ctx.Err() != nil {
				return fmt.Errorf("ended at once by a second signal (%v)", s)
			}
			cancel()
		}
	}
}
