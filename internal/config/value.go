package config

import (
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// ExplainValue says what is wrong with text as a value of type t, and what would be right.
func ExplainValue(t reflect.Type, text string) string {
	right := "give another value"
	switch {
	case t == reflect.TypeFor[time.Duration]():
		right = "use a duration such as 500ms, 30s, 5m or 24h"
	case t == reflect.TypeFor[Bytes]():
		right = RightBytes
	case t == reflect.TypeFor[slog.Level]():
		right = "give debug, info, warn or error"
	case t == reflect.TypeFor[Switch]():
		right = "write on or off"
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

// A Switch is on (true) or off (false).
type Switch bool

// UnmarshalText parses on or off, and the other words of YAML for them.
func (s *Switch) UnmarshalText(text []byte) error {
	switch strings.ToLower(string(text)) {
	case "on", "true", "yes":
		*s = true
	case "off", "false", "no":
		*s = false
	default:
		return errors.New("not on or off")
	}
	return nil
}

// parse returns the value that text is. Its error continues a sentence that begins with the
// name of the setting.
func parse[T any](text string) (*T, error) {
	value := new(T)
	var err error
	switch v := any(value).(type) {
	case interface{ UnmarshalText([]byte) error }:
		err = v.UnmarshalText([]byte(text))
	case *int:
		*v, err = strconv.Atoi(text)
	case *time.Duration:
		*v, err = time.ParseDuration(text)
	}
	if err != nil {
		return nil, errors.New(ExplainValue(reflect.TypeFor[T](), text))
	}
	return value, nil
}
