package main

import (
	"bufio"
	"context"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
)

func TestRun(t *testing.T) {
	s := servertest.Start(t, nil)
	t.Setenv("TOKEN", string(s.Token(auth.Broadcast, "news")))
	publish := func(message string) {
		t.Helper()
		var out strings.Builder
		if err := run(t.Context(), []string{"-url", s.URL, "-publish", message}, &out); err != nil || !strings.HasPrefix(out.String(), "published at ") {
			t.Fatalf("publishing printed %q and failed with %v", &out, err)
		}
	}
	state := filepath.Join(t.TempDir(), "position")
	follow := func(step func(expect func(...string))) {
		t.Helper()
		t.Setenv("TOKEN", string(s.Token(auth.Subscribe, "news")))
		ctx, cancel := context.WithCancel(t.Context())
		in, out := io.Pipe()
		ended := make(chan error, 1)
		go func() {
			ended <- run(ctx, []string{"-url", s.URL, "-state", state}, out)
			out.Close()
		}()
		lines := bufio.NewScanner(in)
		step(func(want ...string) {
			t.Helper()
			for _, w := range want {
				if !lines.Scan() || !strings.HasPrefix(lines.Text(), w) {
					t.Fatalf("got line %q, want %q", lines.Text(), w)
				}
			}
		})
		cancel()
		if err := <-ended; err != context.Canceled {
			t.Errorf("it ended with %v", err)
		}
	}
	token := string(s.Token(auth.Broadcast, "news"))
	follow(func(expect func(...string)) {
		expect("subscribed to news")
		t.Setenv("TOKEN", token)
		publish("one")
		publish(`{"x":2}`)
		expect("news: one", `news: {"x":2}`)
	})
	t.Setenv("TOKEN", token)
	publish("three") // while nobody listens
	follow(func(expect func(...string)) { expect("subscribed to news", "news: three") })

	t.Setenv("TOKEN", "wrong")
	if err := run(t.Context(), []string{"-url", s.URL}, io.Discard); err == nil || !strings.Contains(err.Error(), "token_invalid") {
		t.Errorf("with a wrong token it ended with %v", err)
	}
	if err := run(t.Context(), []string{"-url", "localhost"}, io.Discard); err == nil {
		t.Error("run accepted a wrong address")
	}
}
