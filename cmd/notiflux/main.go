// Command notiflux is the server and its tools in one binary: it serves, makes keys and
// tokens, publishes and subscribes.
//
// Each command is a struct in a file of its own. Its tags define the flags and arguments,
// and its Run method does the work. main parses the command line, runs one command, and
// turns its error into a line on standard error and an exit status: 0 for success, 1 for a
// failure, 2 for wrong usage. Standard output holds only what another program may want to
// read.
//
// Help and errors name a setting together with its environment variable. Errors never
// show a token.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/ikornaselur/notiflux/internal/bench"
	"github.com/ikornaselur/notiflux/internal/config"
)

type commands struct {
	Serve      serveCmd      `cmd:"" help:"Run a server."`
	Dev        devCmd        `cmd:"" help:"Run a server for development: it makes its own keys and tokens and needs no configuration."`
	Keys       keysCmd       `cmd:"" help:"Make a key pair that signs and verifies tokens."`
	Token      tokenCmd      `cmd:"" help:"Make a token."`
	Broadcast  broadcastCmd  `cmd:"" help:"Publish to a topic."`
	Subscribe  subscribeCmd  `cmd:"" help:"Print the messages of topics, one per line."`
	Revoke     revokeCmd     `cmd:"" help:"Revoke tokens, and end what clients hold by them."`
	Disconnect disconnectCmd `cmd:"" help:"Close the connections of a user."`
	Explain    explainCmd    `cmd:"" help:"Say what a token allows, and why or why not."`
	Bench      benchCmd      `cmd:"" help:"Measure a server under load."`
	Health     healthCmd     `cmd:"" help:"Check whether a server is alive."`
	Version    versionCmd    `cmd:"" help:"Print the version."`
}

// terminal holds the standard streams of a command.
type terminal struct {
	in       io.Reader
	out, err io.Writer
}

// writeJSON writes v as one line of JSON.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

func main() {
	os.Exit(run(os.Args[1:], &terminal{os.Stdin, os.Stdout, os.Stderr}))
}

// run executes one command line and returns its exit status.
func run(args []string, t *terminal) int {
	helped, values := false, newValues()
	parser, err := kong.New(new(commands), append(values.options(),
		kong.Name("notiflux"),
		kong.Description("A real-time publish/subscribe server and its tools."),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Writers(t.out, t.err),
		kong.Vars{"minMessageBytes": strconv.Itoa(bench.MinMessageBytes)},
		kong.Exit(func(int) { helped = true }), // only -h calls it, and parsing continues
	)...)
	if err != nil {
		panic(err) // the tags of the commands are wrong
	}
	known := newVariables(parser.Model)
	if err := known.unsetEmpty(); err != nil {
		return t.complain(err)
	}
	parsed, err := parser.Parse(args)
	if helped {
		return 0
	}
	if err = wrongUsage(parsed, err, values); err == nil {
		err = parsed.Run(t, known)
	}
	if err == nil {
		return 0
	}
	return t.complain(err)
}

// complain prints err and returns the exit status for it.
func (t *terminal) complain(err error) int {
	fmt.Fprintf(t.err, "notiflux: %s\n", tokenLike.ReplaceAllLiteralString(err.Error(), "REDACTED"))
	_, isUsage := errors.AsType[usageError](err)
	if _, isSettings := errors.AsType[config.Problems](err); isUsage || isSettings {
		return 2
	}
	return 1
}

// tokenLike matches text that may be a token. A token pasted in the wrong place must not
// appear on a screen or in a log as part of an error.
var tokenLike = regexp.MustCompile(`eyJ[\w-]*\.[\w.-]*`)

// A usageError says that the command line or the environment is wrong.
type usageError struct{ error }

func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

// wrongUsage returns everything that is wrong with a command line and the environment: the
// problems that the parser and values found, with the variables of the flags, or the line of the
// file with settings, and a hint at -h. It returns nil if nothing is wrong.
func wrongUsage(parsed *kong.Context, err error, values *values) error {
	if parse, ok := errors.AsType[*kong.ParseError](err); ok {
		parsed = parse.Context
	}
	command := "notiflux"
	var flags []*kong.Flag
	if parsed != nil {
		flags = parsed.Flags()
		if selected := parsed.Selected(); selected != nil {
			command = selected.FullPath()
		}
	}
	wrong := values.problems(flags)
	unread := slices.Clone(wrong)
	settings, ok := errors.AsType[config.Problems](err)
	if file := values.file.file; file != nil && file.Unreadable {
		settings = nil // What they miss may be in the file.
	}
	for _, line := range settings {
		if !slices.ContainsFunc(unread, func(w string) bool { return sameSetting(w, line) }) {
			wrong = append(wrong, line)
		}
	}
	if err != nil && !ok {
		wrong = append(wrong, withVariable(err.Error(), flags))
	}
	for i := range wrong {
		wrong[i] = values.file.locate(wrong[i])
	}
	wrong = append(slices.Clone(values.file.problems), wrong...)
	switch {
	case len(wrong) == 0:
		return nil
	case len(wrong) == 1 && !ok:
		return usagef("%s\nSee %s -h", wrong[0], command)
	}
	return usagef("%s: %w\nSee %s -h", strings.TrimPrefix(command, "notiflux "), wrong, command)
}

// sameSetting reports whether two problems begin with the same flag. A value that cannot be
// parsed is replaced by a default, and only the first problem is worth reporting.
func sameSetting(a, b string) bool {
	a, _, _ = strings.Cut(a, " ")
	b, _, _ = strings.Cut(b, " ")
	return a == b
}

// withVariable adds the environment variable to a sentence that begins with a flag.
func withVariable(text string, flags []*kong.Flag) string {
	if _, value, ok := strings.Cut(text, "bool value must be true, 1, yes, false, 0 or no but got "); ok {
		return "a flag that begins with --no- is " + value + ": give true or false, or no value" // the parser decodes it, not values
	}
	if short, _, ok := strings.Cut(text, ", did you mean"); ok && strings.HasPrefix(short, "unknown flag -") && !strings.HasPrefix(short, "unknown flag --") {
		return short + ": a flag is a whole word, such as --port; the only short one is -h" // any letter is close to -h
	}
	for _, f := range flags {
		if rest, ok := strings.CutPrefix(text, "--"+f.Name+":"); ok {
			return setting(f) + ":" + rest
		}
	}
	return text
}

// outliveReaders keeps the process alive when the reader of its standard output or error
// goes away: a server must not end because nobody reads its log.
func outliveReaders() { signal.Ignore(syscall.SIGPIPE) }

// untilSignal calls work with a context that ends at the first SIGINT, SIGTERM or SIGHUP.
// At a second SIGINT or SIGTERM it returns an error without waiting for work, whose
// goroutine then ends with the process. A SIGHUP does not count as a second signal, because
// a shell and the system may both send one, and systemd sends one together with SIGTERM. A
// signal that was ignored at start, as under nohup, stays ignored.
func untilSignal(work func(context.Context) error) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(signals, syscall.SIGHUP)
	}
	defer signal.Stop(signals)

	asked := false // by SIGINT or SIGTERM
	done := make(chan error, 1)
	go func() { done <- work(ctx) }()
	for {
		select {
		case err := <-done:
			return err
		case s := <-signals:
			if asked && s != syscall.SIGHUP {
				return fmt.Errorf("terminated by a second signal (%v)", s)
			}
			asked = asked || s != syscall.SIGHUP
			cancel()
		}
	}
}
