package revoke_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/revoke"
)

// open opens the file of a server that starts, which the test stops.
func (c *clock) open(t *testing.T, path string) (*revoke.List, *revoke.File) {
	t.Helper()
	f, entries, err := revoke.OpenFile(path, c.now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return c.list(revoke.Config{Store: f, Entries: entries}), f
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestFileSurvivesARestart(t *testing.T) {
	c := newClock()
	path := filepath.Join(t.TempDir(), "revocations")
	l, f := c.open(t, path)
	mustAdd(t, l, revoke.Entry{ID: "a \u2028\n", Subject: "ä", Issuer: "https://i", Before: c.now.Add(-time.Nanosecond)}, revoke.Entry{Key: "k", Topic: "t"})
	mustAdd(t, l, revoke.Entry{Subject: "s", Pattern: "p:*", Expires: c.now.Add(time.Minute)})
	want := l.Entries()
	if _, _, err := revoke.OpenFile(path, c.now); err == nil || !strings.Contains(err.Error(), "another server uses this file") {
		t.Errorf("a second server opens the file: %v", err)
	}
	f.Close() // The file has no part in memory, so this is no different from a crash.
	l, f = c.open(t, path)
	same := func(got, want []revoke.Entry) {
		t.Helper()
		if len(got) != len(want) {
			t.Fatalf("entries are %v, want %v", got, want)
		}
		for i := range got {
			if !got[i].Before.Equal(want[i].Before) || !got[i].Expires.Equal(want[i].Expires) {
				t.Errorf("entry %v, want %v", got[i], want[i])
			}
			got[i].Before, got[i].Expires = want[i].Before, want[i].Expires
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("entries are %v, want %v", got, want)
		}
	}
	same(l.Entries(), want)
	f.Close()
	c.now = c.now.Add(time.Hour)
	l, _ = c.open(t, path)
	same(l.Entries(), want[1:]) // without the one that has expired
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("the file has mode %v, %v; want one that only its owner reads", info.Mode(), err)
	}
}

// Whatever a crash leaves of the last write, the entries before it are there, and the file can
// be used.
func TestTornFile(t *testing.T) {
	c := newClock()
	path := filepath.Join(t.TempDir(), "revocations")
	l, f := c.open(t, path)
	mustAdd(t, l, revoke.Entry{ID: "one"})
	whole := read(t, path)
	mustAdd(t, l, revoke.Entry{ID: "two"})
	f.Close()
	both := read(t, path)
	for n := len(whole); n < len(both); n++ {
		for _, tail := range []string{"", "\x00\x00"} {
			if err := os.WriteFile(path, []byte(both[:n]+tail), 0o600); err != nil {
				t.Fatal(err)
			}
			l, f := c.open(t, path)
			if e := l.Entries(); len(e) != 1 || e[0].ID != "one" {
				t.Fatalf("cut at %d, entries are %v", n, e)
			}
			mustAdd(t, l, revoke.Entry{ID: "two"})
			f.Close()
			if got := read(t, path); got != both {
				t.Fatalf("cut at %d, the file is %q, want %q", n, got, both)
			}
		}
	}
}

func TestBadFile(t *testing.T) {
	c := newClock()
	path := filepath.Join(t.TempDir(), "revocations")
	good := `{"jti":"a","expires":"2100-01-01T00:00:00Z"}` + "\n"
	for text, want := range map[string]string{
		good + "\n":                       "line 2 is not an entry",
		good + "x\n" + good:               "line 2 is not an entry",
		"{}\n":                            "set jti, sub or kid",
		`{"jti":1}` + "\n":                "line 1 is not an entry",
		strings.Repeat("x", 20000):        "line 1 is longer than an entry can be",
		good + strings.Repeat(" ", 1<<15): "line 2 is longer",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if f, _, err := revoke.OpenFile(path, c.now); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), want) {
			t.Errorf("OpenFile with %.40q = %v, want an error with %q", text, err, want)
			if err == nil {
				f.Close()
			}
		}
		if got := read(t, path); got != text {
			t.Errorf("a file that was refused has changed from %.40q to %.40q", text, got)
		}
	}
	if _, _, err := revoke.OpenFile(filepath.Join(path, "x"), c.now); err == nil {
		t.Error("a file in a file opens")
	}
}

func TestFileStaysSmall(t *testing.T) {
	c := newClock()
	path := filepath.Join(t.TempDir(), "revocations")
	l, f := c.open(t, path)
	for range 6 {
		entries := make([]revoke.Entry, 500)
		for i := range entries {
			entries[i] = revoke.Entry{ID: fmt.Sprint(i), Expires: c.now.Add(time.Hour)}
		}
		mustAdd(t, l, entries...)
	}
	if n := strings.Count(read(t, path), "\n"); n > 2500 {
		t.Errorf("the file has %d lines for 500 entries", n)
	}
	mustAdd(t, l, revoke.Entry{ID: "last"})
	f.Close()
	l, _ = c.open(t, path)
	if n := len(l.Entries()); n != 501 {
		t.Errorf("%d entries after a restart, want 501", n)
	}
}

// After a failed write, nothing is acknowledged until the file can be written again.
func TestFileFails(t *testing.T) {
	c := newClock()
	folder := t.TempDir()
	path := filepath.Join(folder, "revocations")
	l, f := c.open(t, path)
	mustAdd(t, l, revoke.Entry{ID: "one"})
	f.BreakForTest()
	if err := os.Mkdir(path+".new", 0o700); err != nil { // The file cannot be written again.
		t.Fatal(err)
	}
	for range 2 {
		if _, err := l.Add(t.Context(), revoke.Entry{ID: "two"}); err == nil || pubsub.Refusal(err).Code != pubsub.Unavailable {
			t.Fatalf("Add = %v, want unavailable", err)
		}
	}
	if err := os.Remove(path + ".new"); err != nil {
		t.Fatal(err)
	}
	mustAdd(t, l, revoke.Entry{ID: "three"})
	f.Close()
	l, _ = c.open(t, path)
	if e := l.Entries(); len(e) != 2 {
		t.Errorf("entries are %v, want one and three", e)
	}
}

// Whatever happens to the file while the server runs, success means that it is stored.
func TestFileChangesUnderTheServer(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"removed": os.Remove,
		"replaced": func(path string) error {
			return errors.Join(os.WriteFile(path+".old", nil, 0o600), os.Rename(path+".old", path))
		},
		"emptied":  func(path string) error { return os.Truncate(path, 0) },
		"appended": func(path string) error { return os.WriteFile(path, []byte(strings.Repeat("x", 500)), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			path := filepath.Join(t.TempDir(), "revocations")
			l, f := c.open(t, path)
			mustAdd(t, l, revoke.Entry{ID: "one"})
			if err := change(path); err != nil {
				t.Fatal(err)
			}
			mustAdd(t, l, revoke.Entry{ID: "two"})
			f.Close()
			l, _ = c.open(t, path)
			if e := l.Entries(); len(e) != 2 {
				t.Errorf("entries after a restart are %v, want one and two", e)
			}
		})
	}
}

// A link stays a link when the file is written again, and leads to one lock.
func TestFileBehindALink(t *testing.T) {
	c := newClock()
	folder := t.TempDir()
	link, path := filepath.Join(folder, "link"), filepath.Join(folder, "revocations")
	if err := os.Symlink("revocations", link); err != nil {
		t.Skip(err)
	}
	l, f := c.open(t, link)
	if _, _, err := revoke.OpenFile(path, c.now); err == nil || !strings.Contains(err.Error(), "another server uses this file") {
		t.Errorf("a second server opens the file by its own name: %v", err)
	}
	mustAdd(t, l, revoke.Entry{ID: "one"})
	f.BreakForTest()
	mustAdd(t, l, revoke.Entry{ID: "two"})
	f.Close()
	l, _ = c.open(t, path)
	if e := l.Entries(); len(e) != 2 {
		t.Errorf("entries in the file are %v, want one and two", e)
	}
}

// A file that cannot be replaced, because it is mounted alone, grows instead of refusing
// entries; and it is not tried to replace it for each of them.
func TestFileThatCannotBeReplacedGrows(t *testing.T) {
	c := newClock()
	path := filepath.Join(t.TempDir(), "revocations")
	f, _, err := revoke.OpenFile(path, c.now)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Mkdir(path+".new", 0o700); err != nil {
		t.Fatal(err)
	}
	e := []revoke.Entry{{ID: "x", Expires: c.now.Add(time.Hour)}}
	calls := 0
	for i := range 5000 {
		if err := f.Append(t.Context(), e, func() []revoke.Entry { calls++; return e }); err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
	}
	if n := strings.Count(read(t, path), "\n"); n != 5000 || calls > 5 {
		t.Errorf("the file has %d lines, and all entries were asked for %d times; want 5000 and at most 5", n, calls)
	}
}

// All entries are seldom asked for, because that takes as long as there are entries.
func TestAppendSeldomNeedsAllEntries(t *testing.T) {
	c := newClock()
	f, _, err := revoke.OpenFile(filepath.Join(t.TempDir(), "revocations"), c.now)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []revoke.Entry
	calls := 0
	for i := range 300 {
		more := make([]revoke.Entry, 100)
		for j := range more {
			more[j] = revoke.Entry{ID: fmt.Sprint(i, j), Expires: c.now.Add(time.Hour)}
		}
		all = append(all, more...)
		if err := f.Append(t.Context(), more, func() []revoke.Entry { calls++; return all }); err != nil {
			t.Fatal(err)
		}
	}
	if calls > 10 {
		t.Errorf("all entries were asked for %d times in 300 calls", calls)
	}
}

func TestFileIsNoFile(t *testing.T) {
	for _, path := range []string{os.DevNull, t.TempDir()} {
		if _, _, err := revoke.OpenFile(path, time.Now()); err == nil {
			t.Errorf("%s opens", path)
		}
	}
}
