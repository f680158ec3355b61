package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/ikornaselur/notiflux/internal/config"
)

type versionCmd struct{}

// Run prints one line: the version, the commit if known, and the Go version and platform
// of the binary.
func (*versionCmd) Run(t *terminal) error {
	_, err := fmt.Fprintf(t.out, "notiflux %s%s %s %s/%s\n", config.Version(), commit(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// commit returns a space and the commit that the program was built from, or an empty string
// if the build did not record it.
func commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	revision, modified := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = " " + s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = " (modified)"
		}
	}
	return revision + modified
}
