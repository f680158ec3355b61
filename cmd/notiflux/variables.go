package main

import (
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/ikornaselur/notiflux/internal/config"
)

// variables are the environment variables of all commands.
type variables map[string]bool

func newVariables(model *kong.Application) variables {
	all := variables{}
	for _, command := range model.Children {
		for _, f := range command.Flags {
			for _, name := range f.Envs {
				all[name] = true
			}
		}
	}
	return all
}

// unsetEmpty removes empty variables from the environment, where empty counts as unset.
func (v variables) unsetEmpty() error {
	for name := range v {
		if value, ok := os.LookupEnv(name); ok && value == "" && !config.EmptyCounts(name) {
			if err := os.Unsetenv(name); err != nil {
				return err
			}
		}
	}
	return nil
}

const prefix = "NOTIFLUX_"

// injected matches the variables that Kubernetes adds to every container for a Service named
// notiflux or notiflux-…: its own two, and those of Docker links. All hold an address.
var injected = regexp.MustCompile(`^NOTIFLUX_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)

// unknown returns, sorted, the names in an environment (NAME=value) that look like settings
// of notiflux but are not.
func (v variables) unknown(environ []string) []string {
	var names []string
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		isLink := strings.HasSuffix(name, "_PORT") && strings.Contains(value, "://") // NOTIFLUX_PORT=tcp://10.0.0.1:80
		if strings.HasPrefix(name, prefix) && !v[name] && !injected.MatchString(name) && !isLink {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// warn logs variables that are not settings and are probably misspelled.
func (v variables) warn(environ []string, log *slog.Logger) {
	for _, name := range v.unknown(environ) {
		if right := strings.TrimPrefix(name, prefix); v[right] {
			log.Warn("unknown environment variable; this setting has no prefix", "variable", name, "setting", right)
			continue
		}
		log.Warn("unknown environment variable; notiflux serve -h lists the settings", "variable", name)
	}
}
