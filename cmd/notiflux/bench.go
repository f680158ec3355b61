package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/ikornaselur/notiflux/internal/bench"
)

type benchCmd struct {
	Key         string        `default:"es256_private.pem" help:"PEM file with the private key that matches the server's public key."`
	Iss         string        `placeholder:"ISS" help:"Issuer of the tokens, for a server with --jwt-issuer."`
	Aud         string        `placeholder:"AUD" help:"Audience of the tokens, for a server with --jwt-audience."`
	URL         string        `name:"url" env:"NOTIFLUX_URL" default:"http://127.0.0.1:8080" help:"Base address of the server."`
	Connections int           `default:"1000" help:"Number of subscribers, each with its own connection."`
	Topics      int           `default:"1" help:"Number of topics; subscribers are spread over them."`
	Size        int           `default:"100" help:"Size of a message in bytes, at least ${minMessageBytes}."`
	Window      int           `xor:"pace" placeholder:"16" help:"Maximum number of messages in flight: published, and not yet received by all of their subscribers."`
	Rate        float64       `xor:"pace" placeholder:"N" help:"Messages to publish per second, instead of --window."`
	Publishers  int           `default:"4" help:"Number of publishers; each has its own connection, and waits for the answer to a message before it sends the next."`
	Duration    time.Duration `default:"10s" help:"How long to publish."`
	Ramp        int           `placeholder:"N" help:"Connections to open per second; as fast as possible by default."`
	JSON        bool          `name:"json" help:"Print the result as one JSON object."`
	Trust       trust         `embed:""`
}

// defaultWindow keeps a server busy without a long queue of messages.
const defaultWindow = 16

// Help is shown by -h below the first line.
func (*benchCmd) Help() string {
	return "Opens connections and subscribes each of them to a topic. Checks that each receives a test message, then publishes and measures. Exits with 1 if a connection or a delivery was lost, or a message was refused. SIGINT ends the run early and prints the result so far. docs/operations.md explains the figures."
}

// Validate checks the numbers. The parser calls it.
func (c *benchCmd) Validate() error {
	least := func(flag string, value, least int) error {
		if value < least {
			return fmt.Errorf("--%s is %d; the minimum is %d", flag, value, least)
		}
		return nil
	}
	errs := []error{
		least("connections", c.Connections, 1),
		least("topics", c.Topics, 1),
		least("size", c.Size, bench.MinMessageBytes),
		least("publishers", c.Publishers, 1),
		least("window", c.Window, 0),
		least("ramp", c.Ramp, 0),
	}
	if c.Topics > c.Connections {
		errs = append(errs, fmt.Errorf("--topics: %d topics need at least %d --connections: one subscriber per topic", c.Topics, c.Topics))
	}
	if c.Publishers > bench.MaxPublishers {
		errs = append(errs, fmt.Errorf("--publishers is %d; the maximum is %d", c.Publishers, bench.MaxPublishers))
	}
	if c.Size > maxMessageBytes {
		errs = append(errs, fmt.Errorf("--size is %d; the maximum is %d", c.Size, maxMessageBytes))
	}
	if c.Rate < 0 || c.Rate > bench.MaxRate {
		errs = append(errs, fmt.Errorf("--rate is %v; use a number above 0 and at most %d", c.Rate, bench.MaxRate))
	}
	if c.Duration <= 0 {
		errs = append(errs, fmt.Errorf("--duration is %v; use a duration above zero, such as 10s", c.Duration))
	}
	return errors.Join(errs...)
}

// Run loads the server and prints the result.
func (c *benchCmd) Run(t *terminal) error {
	base, err := parseBase(c.URL)
	if err != nil {
		return err
	}
	signer, err := readSigner(c.Key)
	if err != nil {
		return err
	}
	config, err := c.Trust.tls()
	if err != nil {
		return err
	}
	line := newStatusLine(t.err)
	var report *bench.Report
	err = untilSignal(func(ctx context.Context) error {
		report, err = bench.Run(ctx, bench.Config{
			URL:           base,
			Signer:        signer,
			TLS:           config,
			Issuer:        c.Iss,
			Audience:      c.Aud,
			Connections:   c.Connections,
			Topics:        c.Topics,
			MessageBytes:  c.Size,
			Publishers:    c.Publishers,
			Window:        cmp.Or(c.Window, defaultWindow),
			Rate:          c.Rate,
			Duration:      c.Duration,
			Ramp:          c.Ramp,
			Progress:      line.show,
			ProgressEvery: line.every,
		})
		return err
	})
	line.end()
	switch {
	case errors.Is(err, bench.ErrDescriptors):
		return fmt.Errorf("--connections: %w", err)
	case errors.Is(err, bench.ErrDenied):
		return fmt.Errorf("--key: %w; use the private key that matches the server's public key, and --iss and --aud if the server demands them", err)
	case err != nil:
		return unreachable("url", base, err)
	}
	if err := c.print(t.out, report); err != nil {
		return err
	}
	if !report.OK {
		return errors.New("the run was not clean: " + cmp.Or(report.FirstProblem, "not every message arrived exactly once and in order"))
	}
	return nil
}

func (c *benchCmd) print(w io.Writer, r *bench.Report) error {
	if c.JSON {
		return writeJSON(w, r)
	}
	times := func(t bench.Times) string {
		return fmt.Sprintf("p50 %s, p90 %s, p99 %s, p99.9 %s, max %s",
			micros(t.P50), micros(t.P90), micros(t.P99), micros(t.P999), micros(t.Max))
	}
	_, err := fmt.Fprintf(w, `connections  %s opened in %.2f s (%s/s), %s failed, %s lost
connect      %s
messages     %s published in %.2f s (%s/s), %s refused, %s unknown
deliveries   %s of %s expected (%s/s), %s lost, %s disordered, %s foreign
latency      %s
generator    %.2f cores
`,
		count(r.Opened), r.OpeningSeconds, count(r.OpenedRate), count(r.Failed), count(r.Lost),
		times(r.Connecting),
		count(r.Published), r.Seconds, count(r.PublishedRate), count(r.Refused), count(r.Unknown),
		count(r.Delivered), count(r.Expected), count(r.DeliveredRate), count(r.Missing), count(r.Disordered), count(r.Foreign),
		times(r.Latency), r.Cores)
	return err
}

// count formats a whole number in groups of three digits.
func count[N int | uint64 | float64](n N) string {
	digits := strconv.FormatUint(uint64(n), 10)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// micros formats microseconds for people.
func micros(us int64) string {
	return (time.Duration(us) * time.Microsecond).String()
}

// A statusLine shows the progress of a run. On a terminal it rewrites one line;
// elsewhere it writes a line every few seconds.
type statusLine struct {
	w        io.Writer
	every    time.Duration
	terminal bool
	shown    bool
	last     bench.Progress
}

func newStatusLine(w io.Writer) *statusLine {
	l := &statusLine{w: w, every: 2 * time.Second}
	if f, ok := w.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			l.terminal, l.every = true, 500*time.Millisecond
		}
	}
	return l
}

// show writes the progress. Only one goroutine may call it.
func (l *statusLine) show(p bench.Progress) {
	text := fmt.Sprintf("opening: %s connections, %s lost", count(p.Open), count(p.Lost))
	if p.Publishing {
		rate := 0.0
		if passed := p.Elapsed - l.last.Elapsed; passed > 0 && p.Delivered >= l.last.Delivered {
			rate = float64(p.Delivered-l.last.Delivered) / passed.Seconds()
		}
		text = fmt.Sprintf("%3.0f s: %s connections, %s lost; %s messages, %s deliveries (%s/s)",
			p.Elapsed.Seconds(), count(p.Open), count(p.Lost), count(p.Published), count(p.Delivered), count(rate))
	}
	l.last = p
	if l.terminal {
		text = "\r" + text + "\x1b[K"
	} else {
		text += "\n"
	}
	_, _ = io.WriteString(l.w, text) // progress is not worth an error
	l.shown = true
}

// end leaves the last line on the terminal.
func (l *statusLine) end() {
	if l.terminal && l.shown {
		_, _ = io.WriteString(l.w, "\n")
	}
}
