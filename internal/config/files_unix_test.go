//go:build unix

package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ikornaselur/notiflux/internal/config"
)

// A pipe without a writer does not hang the start.
func TestPipesAreRefused(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skip(err)
	}
	for _, path := range []string{pipe, os.DevNull} {
		if _, err := config.ReadRegular(path, config.MaxFileBytes); err == nil || !strings.HasPrefix(err.Error(), path+": this is a pipe or a device") {
			t.Errorf("ReadRegular(%s) = %v", path, err)
		}
	}
}
