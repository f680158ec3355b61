package config_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/config"
)

var flags = []string{"allowed-origins", "history-messages", "host", "log-level", "max-topics", "port"}

// readText reads a file with this text. In problems, its path is f.
func readText(t *testing.T, text string) (*config.File, []string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, problems := config.ReadFile(path, flags)
	for i := range problems {
		problems[i] = strings.ReplaceAll(problems[i], path, "f")
	}
	return f, problems
}

func TestReadFile(t *testing.T) {
	f, problems := readText(t, "# comment\nport: 0x10\nhost: &h '::1'\nlog-level: !!str on\nallowed-origins: [a, 'b,c', *h]\n")
	if len(problems) > 0 {
		t.Fatalf("problems: %q", problems)
	}
	for flag, want := range map[string]string{"port": "0x10", "host": "::1", "log-level": "on", "allowed-origins": `a,b\,c,::1`} {
		if v, ok := f.Value(flag); !ok || v.Text != want || v.List != (flag == "allowed-origins") {
			t.Errorf("%s is %+v, %v; want %q", flag, v, ok, want)
		}
	}
	if v, ok := f.Value("max-topics"); ok {
		t.Errorf("max-topics is %+v, want none", v)
	}
	if v, _ := f.Value("log-level"); !strings.HasSuffix(v.At, "f:4") {
		t.Errorf("log-level is at %q", v.At)
	}
}

// Each mistake in a file is reported with its line.
func TestMistakesInFiles(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"", "f: the file is empty"},
		{"# nothing\n", "f: the file is empty"},
		{"\x00", "f: this is not YAML"},
		{"port: \xff", "f: this is not YAML"},
		{"port: 1\nhost: a: b", "f:2: this is not YAML: mapping values are not allowed"},
		{"port: 1\n\thost: a", "f:2: this is not YAML"},
		{"*: {}", "f:1: this is not YAML: did not find expected alphabetic or numeric character: put quotes around a text that begins with *"},
		{"port: [1", "f:2: this is not YAML"},
		{"port: 1\n---\nport: 2", "f: the file has more than one YAML document"},
		{"just text", "f:1: the file is a single value: write settings such as `port: 8080`"},
		{"- port", "f:1: the file is a list"},
		{"~", "f:1: the file is empty"},
		{"prot: 1", "f:1: there is no setting `prot`: did you mean `port`?"},
		{"--port: 1", "f:1: there is no setting `--port`: did you mean `port`?"},
		{"NOTIFLUX_MAX_TOPICS: 1", "f:1: there is no setting `NOTIFLUX_MAX_TOPICS`: use `allowed-origins`"},
		{"config: other.yaml", "f:1: `config` cannot be set in a file"},
		{"<<: {port: 1}", "f:1: there is no setting `<<`"},
		{"port: 1\nhost: h\nport: 2", "f:3: `port` occurs again: the first one is in line 1"},
		{"port:", "f:1: `port` has no value"},
		{"port: {a: 1}", "f:1: `port` is a mapping: write one value"},
		{"port: [[1]]", "f:1: `port` is a list: write one value"},
		{"[a, b]: 1", "f:1: a name is a list"},
		{"? \n: 1", "f:1: a name is empty"},
	} {
		_, problems := readText(t, test.text)
		if len(problems) != 1 || !strings.Contains(problems[0], test.want) {
			t.Errorf("%q has the problems %q, want one with %q", test.text, problems, test.want)
		}
	}
}

// The example in the documentation is a file without mistakes.
func TestTheDocumentedFileIsValid(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(text), "```yaml\n")
	example, _, _ = strings.Cut(example, "```")
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte(example), 0o600); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range parser(t, new(config.Serve)).Model.Flags {
		names = append(names, f.Name)
	}
	if _, problems := config.ReadFile(path, names); len(problems) > 0 {
		t.Errorf("the problems are %q", problems)
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	large := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(large, make([]byte, 1<<20+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"none":      "--config (NOTIFLUX_CONFIG): none: there is no such file",
		t.TempDir(): "this is a folder, not a file",
		large:       "is larger than 1MiB",
	} {
		f, problems := config.ReadFile(path, flags)
		if len(problems) != 1 || !strings.Contains(problems[0], want) || !f.Unreadable {
			t.Errorf("%s: %q, want %q", path, problems, want)
		}
	}
}

// Whatever a file contains, reading it ends, and problems are single lines that name the file.
func FuzzReadFile(f *testing.F) {
	for _, seed := range []string{"port: 1\n", "topics:\n  'a*': {history: off}\n", "a: &x [*x]\n", "a: &x {b: *x}\n", "topics: &t {a: *t}\n", "{a: [}", "\"\\x00\\n\": \"a\\nb\""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_, problems := readText(t, text)
		for _, p := range problems {
			if !strings.HasPrefix(p, "f:") {
				t.Errorf("%q has the problem %q", text, p)
			}
		}
		if slices.Contains(problems, "") {
			t.Errorf("%q has an empty problem", text)
		}
	})
}
