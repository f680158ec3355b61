package auth_test

import (
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
)

func TestExpiries(t *testing.T) {
	at := func(n int) time.Time { return time.Unix(int64(n), 0) }
	var e auth.Expiries[string]
	if _, _, ok := e.First(); ok || e.Ended("a", at(9)) {
		t.Error("the zero value is not empty")
	}
	e.Set("a", at(3))
	e.Set("b", at(1))
	e.Set("c", at(2))
	e.Set("b", at(4)) // later than before
	e.Set("c", time.Time{})
	e.Set("d", time.Time{})
	if !e.Ended("a", at(3)) || e.Ended("a", at(2)) || e.Ended("c", at(9)) {
		t.Error("wrong end")
	}
	for _, want := range []string{"a", "b"} {
		got, _, ok := e.First()
		if !ok || got != want {
			t.Fatalf("%q ends first, want %q", got, want)
		}
		e.Set(got, time.Time{})
	}
	if _, _, ok := e.First(); ok {
		t.Error("not empty at the end")
	}
}
