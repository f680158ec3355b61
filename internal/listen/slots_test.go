package listen_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/internal/listen"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

func TestSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := listen.NewSlots(2, "--max-connections", slog.New(slog.NewTextHandler(&log, nil)))
		for range 2 {
			if err := s.Acquire(); err != nil {
				t.Fatal(err)
			}
		}
		refused := func(warnings int) {
			t.Helper()
			if err := s.Acquire(); err == nil || pubsub.Refusal(err).Code != pubsub.OverCapacity {
				t.Errorf("Acquire without a free slot = %v, want %s", err, pubsub.OverCapacity)
			}
			if n := strings.Count(log.String(), "limit=2 setting=--max-connections"); n != warnings {
				t.Errorf("the log has %d warnings, want %d:\n%s", n, warnings, &log)
			}
		}
		refused(1)
		refused(1) // once a minute is enough
		time.Sleep(time.Minute)
		refused(2)
		if n := s.Count(); n != 2 {
			t.Errorf("Count = %d, want 2", n)
		}

		hurried, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		if left := s.Wait(hurried); left != 2 {
			t.Errorf("Wait until the context ends = %d, want 2", left)
		}
		go func() {
			for range 2 {
				time.Sleep(time.Second)
				s.Release()
			}
		}()
		began := time.Now()
		if left := s.Wait(t.Context()); left != 0 || time.Since(began) != 2*time.Second {
			t.Errorf("Wait = %d after %v, want 0 after 2s", left, time.Since(began))
		}
		if left := s.Wait(t.Context()); left != 0 {
			t.Errorf("Wait without slots taken = %d, want 0", left)
		}
	})
}
