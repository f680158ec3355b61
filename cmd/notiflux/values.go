package main

import (
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/ikornaselur/notiflux/internal/config"
)

// values decodes the values of flags and variables. The parser would stop at the first wrong
// value and report it in its own words. Instead, values records each wrong value, sets its
// default, and lets the parser continue.
//
// The parser decodes the command line first and the environment second, even for flags that
// were set and for variables of other commands. So values keeps the problems of both apart,
// and [values.problems] picks those that matter.
type values struct {
	environment bool // what is decoded now comes from there, or is a default

	given    map[*kong.Value]bool   // by a flag
	line     map[*kong.Value]string // what is wrong with the flag
	variable map[*kong.Value]string // what is wrong with the variable
}

func newValues() *values {
	return &values{given: map[*kong.Value]bool{}, line: map[*kong.Value]string{}, variable: map[*kong.Value]string{}}
}

// options returns the parser options that make it decode with v.
func (v *values) options() []kong.Option {
	options := []kong.Option{kong.WithBeforeReset(func() error {
		v.environment = true
		return nil
	})}
	library := kong.NewRegistry().RegisterDefaults()
	for _, kind := range []reflect.Kind{reflect.Int, reflect.Float64, reflect.Bool, reflect.String, reflect.Slice} {
		options = append(options, kong.KindMapper(kind, &mapper{v, library, kind == reflect.Bool}))
	}
	for _, t := range []reflect.Type{reflect.TypeFor[time.Duration](), reflect.TypeFor[config.Bytes](), reflect.TypeFor[slog.Level]()} {
		options = append(options, kong.TypeMapper(t, &mapper{v, library, false}))
	}
	return options
}

// problems returns what is wrong with the values of a command, one line each.
func (v *values) problems(flags []*kong.Flag) config.Problems {
	var all config.Problems
	for _, f := range flags {
		wrong := v.line[f.Value]
		if !v.given[f.Value] {
			wrong = v.variable[f.Value]
		}
		if wrong != "" {
			all = append(all, setting(f)+" "+wrong)
		}
	}
	return all
}

// A mapper decodes the values of one Go kind or type, in place of the library's.
type mapper struct {
	values  *values
	library *kong.Registry
	bool    bool
}

// IsBool reports whether the flag needs no value.
func (m *mapper) IsBool() bool { return m.bool }

// Decode sets target. It fails only if the rest of the command line cannot be read.
func (m *mapper) Decode(ctx *kong.DecodeContext, target reflect.Value) error {
	next := ctx.Scan.Peek()
	if ctx.Value.Flag != nil && !m.bool && !next.IsValue() {
		if next.IsEOL() {
			return errors.New("a value is missing")
		}
		return fmt.Errorf("a value is missing; if %[2]v is the value, write --%[1]s=%[2]v", ctx.Value.Name, next)
	}
	found := m.values.line
	if m.values.environment {
		found = m.values.variable
	} else {
		m.values.given[ctx.Value] = true
	}
	library := m.library.ForType(target.Type())
	if library.Decode(ctx, target) == nil {
		return nil
	}
	text, _ := next.Value.(string)
	found[ctx.Value] = explainValue(target.Type(), text)
	if !ctx.Value.HasDefault {
		return nil
	}
	fallback := kong.ScanFromTokens(kong.Token{Type: kong.FlagValueToken, Value: ctx.Value.Default})
	return library.Decode(ctx.WithScanner(fallback), target)
}

// explainValue says what is wrong with text and what would be right.
func explainValue(t reflect.Type, text string) string {
	right := "give another value"
	switch {
	case t == reflect.TypeFor[time.Duration]():
		right = "use a duration such as 500ms, 30s or 5m"
	case t == reflect.TypeFor[config.Bytes]():
		right = config.RightBytes
	case t == reflect.TypeFor[slog.Level]():
		right = "give debug, info, warn or error"
	case t.Kind() == reflect.Bool:
		right = "give true or false"
	case t.Kind() == reflect.Int && text != "" && strings.Trim(text, "0123456789") == "":
		right = "the number is too large"
	case t.Kind() == reflect.Int:
		right = "give a whole number"
	case t.Kind() == reflect.Float64:
		right = "give a number, as in 0.5 or 100"
	}
	return fmt.Sprintf("is %q: %s", text, right)
}

// setting returns the name of a flag for people, with its variable if it has one.
func setting(f *kong.Flag) string {
	if len(f.Envs) == 0 {
		return "--" + f.Name
	}
	return "--" + f.Name + " (" + f.Envs[0] + ")"
}
