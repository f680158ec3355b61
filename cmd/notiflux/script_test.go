package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience is how long a script waits for what a job says or for its end:
// far longer than it takes on a machine that is busy.
const patience = 30 * time.Second

// A job is a program that runs beside its script.
type job struct {
	process     *exec.Cmd
	out, stderr *output
	ended       chan struct{} // closed when it has ended
}

type (
	jobs    map[string]*job
	jobsKey struct{}
)

// An output is what a job has written to one of its streams.
type output struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{} // closed by the next Write
}

func newOutput() *output { return &output{changed: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.changed)
	o.changed = make(chan struct{})
	return o.text.Write(p)
}

// read returns what was written, and a channel that closes when there is more.
func (o *output) read() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String(), o.changed
}

// start NAME PROGRAM ARGS… starts a job, which is killed when the script ends.
func start(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: start NAME PROGRAM ARGS…")
	}
	path, err := exec.LookPath(args[1])
	ts.Check(err)
	j := &job{process: exec.Command(path, args[2:]...), out: newOutput(), stderr: newOutput(), ended: make(chan struct{})}
	j.process.Dir = ts.MkAbs(".")
	j.process.Stdout, j.process.Stderr = j.out, j.stderr
	j.process.Env = environ(ts)
	ts.Check(j.process.Start())
	go func() {
		_ = j.process.Wait() // finish looks at the state
		close(j.ended)
	}()
	ts.Defer(func() {
		_ = j.process.Process.Kill() // it may have ended
		<-j.ended
	})
	ts.Value(jobsKey{}).(jobs)[args[0]] = j
}

// environ is the environment of a job: [testscript.TestScript] tells it only
// variable by variable.
func environ(ts *testscript.TestScript) []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "WORK", "PORT", "JWT_PUBLIC_KEY_B64", "NOTIFLUX_TOKEN", "NOTIFLUX_ADMIN_ADDR", "NOTIFLUX_CONFIG", "NOTIFLUX_LOG_FORMAT", "GORACE"} {
		env = append(env, name+"="+ts.Getenv(name))
	}
	return env
}

func find(ts *testscript.TestScript, name string) *job {
	j := ts.Value(jobsKey{}).(jobs)[name]
	if j == nil {
		ts.Fatalf("no job %s was started", name)
	}
	return j
}

// await NAME stdout|stderr REGEXP [VARIABLE] waits until a job has written what
// matches, and sets the variable to the first group.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 || len(args) > 4 {
		ts.Fatalf("usage: await NAME stdout|stderr REGEXP [VARIABLE]")
	}
	j := find(ts, args[0])
	stream := map[string]*output{"stdout": j.out, "stderr": j.stderr}[args[1]]
	pattern := regexp.MustCompile("(?m)" + args[2])
	limit := time.After(patience)
	for {
		text, changed := stream.read()
		if match := pattern.FindStringSubmatch(text); match != nil {
			if len(args) == 4 {
				ts.Setenv(args[3], match[1])
			}
			return
		}
		select {
		case <-changed:
			continue
		case <-j.ended:
			if last, _ := stream.read(); last != text {
				continue
			}
		case <-limit:
		}
		stderr, _ := j.stderr.read()
		ts.Fatalf("%s did not write %s\nstdout or stderr: %s\nstderr: %s", args[0], args[2], text, stderr)
	}
}

// repeat NAME REGEXP PROGRAM ARGS… runs a program, which must succeed, until
// the job has written what matches to its standard output. The text protocol
// does not say when a subscription counts; a message that arrives does.
func repeat(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: repeat NAME REGEXP PROGRAM ARGS…")
	}
	j := find(ts, args[0])
	pattern := regexp.MustCompile(args[1])
	limit := time.After(patience)
	for {
		ts.Check(ts.Exec(args[2], args[3:]...))
		text, changed := j.out.read()
		if pattern.MatchString(text) {
			return
		}
		select {
		case <-changed:
		case <-time.After(50 * time.Millisecond):
		case <-j.ended:
			ts.Fatalf("%s ended before it wrote %s", args[0], args[1])
		case <-limit:
			ts.Fatalf("%s did not write %s", args[0], args[1])
		}
	}
}

// finish NAME [SIGNAL] STATUS waits for the end of a job, after sending it a
// signal, and checks its exit status. What it wrote is then in NAME.stdout and
// NAME.stderr.
func finish(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: finish NAME [SIGNAL] STATUS")
	}
	j := find(ts, args[0])
	if len(args) == 3 {
		signal := map[string]os.Signal{"INT": os.Interrupt, "TERM": syscall.SIGTERM}[args[1]]
		ts.Check(j.process.Process.Signal(signal))
	}
	select {
	case <-j.ended:
	case <-time.After(patience):
		ts.Fatalf("%s did not end", args[0])
	}
	for name, stream := range map[string]*output{".stdout": j.out, ".stderr": j.stderr} {
		text, _ := stream.read()
		ts.Check(os.WriteFile(ts.MkAbs(args[0]+name), []byte(text), 0o600))
	}
	want, err := strconv.Atoi(args[len(args)-1])
	ts.Check(err)
	if got := j.process.ProcessState.ExitCode(); got != want {
		text, _ := j.stderr.read()
		ts.Fatalf("%s ended with status %d, want %d\n%s", args[0], got, want, text)
	}
}

// status STATUS PROGRAM ARGS… runs a program as exec does, and checks its exit
// status.
func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status STATUS PROGRAM ARGS…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got, err := 0, ts.Exec(args[1], args[2:]...)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got, err = exit.ExitCode(), nil
	}
	ts.Check(err)
	if got != want {
		ts.Fatalf("%s ended with status %d, want %d\n%s", args[1], got, want, ts.ReadFile("stderr"))
	}
}

// decode FILE writes the header and the claims of the token in a file to
// header.json and claims.json.
func decode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: decode FILE")
	}
	parts := strings.Split(strings.TrimSuffix(ts.ReadFile(args[0]), "\n"), ".")
	if len(parts) != 3 {
		ts.Fatalf("%d parts, want those of a token", len(parts))
	}
	for i, name := range []string{"header.json", "claims.json"} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(name), append(text, '\n'), 0o600))
	}
}

// screen FILE COLUMNS LINES checks that a file's text fits a terminal.
func screen(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: screen FILE COLUMNS LINES")
	}
	columns, errColumns := strconv.Atoi(args[1])
	most, errLines := strconv.Atoi(args[2])
	ts.Check(errors.Join(errColumns, errLines))
	lines := 0
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		lines += max(1, (utf8.RuneCountInString(strings.TrimSuffix(line, "\n"))+columns-1)/columns)
	}
	if lines > most {
		ts.Fatalf("%s has %d lines of %d columns, want at most %d", args[0], lines, columns, most)
	}
}
