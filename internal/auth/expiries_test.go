package auth_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
)

func TestExpiries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		at := func(seconds int) time.Time { return begin.Add(time.Duration(seconds) * time.Second) }
		var ended []string
		loop := make(chan func(), 1)
		e := auth.Expiries[string]{Now: time.Now, Post: func(f func()) bool { loop <- f; return true }}
		e.End = func(thing string, now time.Time) int {
			if !e.Ended(thing, now) {
				t.Errorf("%s ends too early", thing)
			}
			ended = append(ended, thing)
			e.Set(thing, time.Time{})
			return 1
		}
		if e.Ended("a", at(9)) {
			t.Error("a thing that is not there has ended")
		}
		e.Set("a", at(3))
		e.Set("b", at(1))
		e.Set("c", at(2))
		e.Set("b", at(14)) // later than before
		e.Set("c", time.Time{})
		e.Set("d", time.Time{})
		for _, step := range []struct {
			at   int
			want []string
		}{{2, nil}, {3, []string{"a"}}, {13, []string{"a"}}, {14, []string{"a", "b"}}, {100, []string{"a", "b"}}} {
			time.Sleep(time.Until(at(step.at)))
			synctest.Wait()
			for len(loop) > 0 {
				(<-loop)()
			}
			if !slices.Equal(ended, step.want) {
				t.Errorf("after %d s, %v have ended, want %v", step.at, ended, step.want)
			}
		}
	})
}
