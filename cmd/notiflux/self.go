package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
)

// self returns the command that runs this program in a shell on this machine: its name if
// PATH leads to it, `go run` if the program is one of its temporary binaries, or else its
// path.
func self() string {
	path, err := os.Executable()
	if err != nil {
		return "notiflux"
	}
	if found, err := exec.LookPath("notiflux"); err == nil && sameFile(found, path) {
		return "notiflux"
	}
	if info, ok := debug.ReadBuildInfo(); ok && isGoRun(path) {
		if info.Main.Sum != "" { // not from a checkout
			return "go run " + info.Path + "@" + info.Main.Version
		}
		return "go run ./cmd/notiflux"
	}
	return shellQuote(path)
}

// goRunDir matches the directories in which `go run` keeps binaries: a temporary directory,
// or an entry of the build cache (since Go 1.24).
var goRunDir = regexp.MustCompile(`(^|/)(go-build[0-9]+/b[0-9]+/exe|[0-9a-f]{2}/[0-9a-f]{64}-d)$`)

func isGoRun(path string) bool {
	return goRunDir.MatchString(filepath.ToSlash(filepath.Dir(path)))
}

func sameFile(a, b string) bool {
	ia, errA := os.Stat(a)
	ib, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(ia, ib)
}

var shellSafe = regexp.MustCompile(`^[\w./+@%-]+$`)

// shellQuote returns s as one word of a POSIX shell.
func shellQuote(s string) string {
	if shellSafe.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
