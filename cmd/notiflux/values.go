package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strconv"
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
// and [values.problems] picks those that matter. Last comes the file with settings, for flags
// that neither of them sets (file.go).
type values struct {
	now source // where what is decoded now comes from

	given map[*kong.Value]bool              // by a flag
	wrong map[source]map[*kong.Value]string // what is wrong with a value

	file settingsFile
}

// A source is where a value comes from.
type source int

const (
	fromLine        source = iota
	fromEnvironment        // or a default
	fromFile
)

func newValues() *values {
	return &values{given: map[*kong.Value]bool{}, wrong: map[source]map[*kong.Value]string{fromLine: {}, fromEnvironment: {}, fromFile: {}}}
}

// options returns the parser options that make it decode with v.
func (v *values) options() []kong.Option {
	options := []kong.Option{kong.WithBeforeReset(func() error {
		v.now = fromEnvironment
		return nil
	}), kong.WithBeforeResolve(func(ctx *kong.Context) error {
		v.now = fromFile
		v.file.use(ctx)
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
		wrong := v.wrong[fromLine][f.Value]
		if !v.given[f.Value] {
			wrong = cmp.Or(v.wrong[fromEnvironment][f.Value], v.wrong[fromFile][f.Value])
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
	if m.values.now == fromLine {
		m.values.given[ctx.Value] = true
	}
	if m.decode(ctx, target) == nil {
		return nil
	}
	text, _ := next.Value.(string)
	m.values.wrong[m.values.now][ctx.Value] = config.ExplainValue(target.Type(), text)
	if !ctx.Value.HasDefault {
		return nil
	}
	fallback := kong.ScanFromTokens(kong.Token{Type: kong.FlagValueToken, Value: ctx.Value.Default})
	return m.decode(ctx.WithScanner(fallback), target)
}

// decode decodes the next value as the library does, but whole numbers are always decimal: the
// library takes 010 for 8.
func (m *mapper) decode(ctx *kong.DecodeContext, target reflect.Value) error {
	if target.Type() != reflect.TypeFor[int]() {
		return m.library.ForType(target.Type()).Decode(ctx, target)
	}
	text, _ := ctx.Scan.Pop().Value.(string)
	n, err := strconv.Atoi(text)
	target.SetInt(int64(n))
	return err
}

// setting returns the name of a flag for people, with its variable if it has one.
func setting(f *kong.Flag) string {
	if len(f.Envs) == 0 {
		return "--" + f.Name
	}
	return "--" + f.Name + " (" + f.Envs[0] + ")"
}
