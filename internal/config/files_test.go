package config_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/config"
)

// Files that differ only in their content, as keys that a tool deploys, are different versions.
func TestVersionIsThatOfTheContent(t *testing.T) {
	folder := t.TempDir()
	link := filepath.Join(folder, "link")
	versions := map[config.FileVersion]string{{}: "none"}
	for _, content := range []string{"one", "two"} {
		path := filepath.Join(folder, content)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, time.Time{}, time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(content, link+".new"); err != nil {
			t.Skip(err)
		}
		if err := os.Rename(link+".new", link); err != nil {
			t.Fatal(err)
		}
		v := config.VersionOf(link)
		if other, known := versions[v]; known {
			t.Errorf("%s has the same version as %s", content, other)
		}
		versions[v] = content
	}
	if v := config.VersionOf(filepath.Join(folder, "three")); versions[v] != "none" {
		t.Errorf("a missing file has the version of %s", versions[v])
	}
}
