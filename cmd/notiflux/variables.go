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

// unsetEmpty removes those from the environment that are empty and so count as unset.
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

// injected matches what Kubernetes puts into the environment of every container for
// a Service whose name is notiflux or begins with notiflux-: two variables in its own
// form, and those of Docker's old links, all of which hold an address.
var injected = regexp.MustCompile(`^NOTIFLUX_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)

// unknown returns the names in an environment (NAME=value) that look like settings
// of ours and are none, sorted.
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

// warn tells of variables that are not settings: most likely one is misspelt.
func (v variables) warn(environ []string, log *slog.Logger) {
	for _, name := range v.unknown(environ) {
		if right := strings.TrimPrefix(name, prefix); v[right] {
			log.Warn("unknown environment variable; this setting has no prefix", "variable", name, "setting", right)
			continue
		}
		log.Warn("unknown environment variable; notiflux serve -h lists the settings", "variable", name)
	}
}
