package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/ikornaselur/notiflux/internal/config"
)

type versionCmd struct{}

// Run prints one line: the version, the commit if it is known, and the Go
// version and platform that the binary is made by and for.
func (*versionCmd) Run(t *terminal) error {
	_, err := fmt.Fprintf(t.out, "notiflux %s%s %s %s/%s\n", config.Version(), commit(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// commit returns the commit that the program was built from, with a space
// before it, or nothing when that was not recorded.
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
