package main

import (
	"context"
	"strings"
	"syscall"
	"testing"
)

// raise sends the test itself a signal.
func raise(t *testing.T, s syscall.Signal) {
	if err := syscall.Kill(syscall.Getpid(), s); err != nil {
		t.Error(err)
	}
}

func TestFirstSignalEndsTheContext(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		err := untilSignal(func(ctx context.Context) error {
			raise(t, s)
			<-ctx.Done()
			return nil
		})
		if err != nil {
			t.Errorf("untilSignal returned %v after %v, want nil", err, s)
		}
	}
}

func TestSecondSignalDoesNotWait(t *testing.T) {
	release, ended := make(chan struct{}), make(chan struct{})
	err := untilSignal(func(ctx context.Context) error {
		defer close(ended)
		raise(t, syscall.SIGTERM)
		<-ctx.Done()
		raise(t, syscall.SIGINT)
		<-release
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "second signal") {
		t.Errorf("untilSignal returned %v after two signals, want an error that says so", err)
	}
	close(release)
	<-ended
}
