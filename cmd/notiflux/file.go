package main

import (
	"os"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/ikornaselur/notiflux/internal/config"
)

// A settingsFile is the file that --config names. It gives values to flags that neither the
// command line nor the environment sets.
type settingsFile struct {
	file     *config.File // nil: there is none
	problems config.Problems
	used     map[string]string // where the values that the parser took are, by flag
}

// use reads the file, if the command has the flag --config and it is set.
func (s *settingsFile) use(ctx *kong.Context) {
	var names []string
	path := ""
	for _, f := range ctx.Flags() {
		if f.Name == "config" {
			path, _ = ctx.FlagValue(f).(string)
		} else if len(f.Envs) > 0 { // Otherwise it is no setting, such as --help.
			names = append(names, f.Name)
		}
	}
	if path == "" {
		return
	}
	s.used = map[string]string{}
	s.file, s.problems = config.ReadFile(path, names)
	for _, f := range ctx.Flags() {
		if value, ok := s.file.Value(f.Name); ok && value.List && !f.IsSlice() {
			s.problems = append(s.problems, value.At+": `"+f.Name+"` is a list: write one value")
		}
	}
	if serve, ok := ctx.Selected().Target.Addr().Interface().(*serveCmd); ok {
		serve.Config.Sections = s.file.Sections
	}
	ctx.AddResolver(s)
}

// Validate implements [kong.Resolver].
func (*settingsFile) Validate(*kong.Application) error { return nil }

// Resolve implements [kong.Resolver]. The parser calls it for flags that the command line does
// not set.
func (s *settingsFile) Resolve(_ *kong.Context, _ *kong.Path, f *kong.Flag) (any, error) {
	for _, name := range f.Envs {
		if _, set := os.LookupEnv(name); set {
			return nil, nil
		}
	}
	value, ok := s.file.Value(f.Name)
	if !ok || value.List && !f.IsSlice() {
		return nil, nil
	}
	s.used[f.Name] = value.At
	var onOff config.Switch
	if f.IsBool() && onOff.UnmarshalText([]byte(value.Text)) == nil {
		return map[config.Switch]string{true: "true", false: "false"}[onOff], nil
	}
	return value.Text, nil
}

// locate puts the file and the line before a problem with a value of the file.
func (s *settingsFile) locate(problem string) string {
	flag, _, _ := strings.Cut(problem, " ")
	if at := s.used[strings.Trim(flag, "-:,")]; at != "" {
		return at + ": " + problem
	}
	return problem
}
