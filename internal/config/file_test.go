package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

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
	f, problems := readText(t, "# comment\nport: 0x10\nhost: &h '::1'\nlog-level: !!str on\nallowed-origins: [a, 'b,c', *h]\n"+
		"topics:\n  chat:*: {history-messages: 1000, history-bytes: 2MiB, history-age: 24h}\n  '*': {presence: no}\n  status:\n    history: off\n    max-message-bytes: 100\n  plain: {}\n")
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
	c := valid()
	c.Sections = f.Sections
	topics := c.Topics()
	chat, status, plain, other := topics.ForTopic("chat:1"), topics.ForTopic("status"), topics.ForTopic("plain"), topics.ForTopic("x")
	if chat.HistoryMessages != 1000 || chat.HistoryBytes != 2*config.MiB || chat.HistoryAge != 24*time.Hour || !chat.History || !chat.Presence || !strings.HasSuffix(chat.At, "f:7") {
		t.Errorf("chat:1 has %+v", chat)
	}
	if status.History || !status.Presence || status.MaxMessageBytes != 100 || status.Section != "status" {
		t.Errorf("status has %+v", status)
	}
	if plain.Section != "plain" || !plain.Presence || plain.HistoryMessages != c.HistoryMessages {
		t.Errorf("plain has %+v", plain)
	}
	if other.Section != "*" || other.Presence || other.HistoryMessages != c.HistoryMessages || other.MaxMessageBytes != c.MaxMessageBytes {
		t.Errorf("x has %+v", other)
	}
}

// Each mistake in a file is reported with its line, together with what the settings as a whole
// have to say about it.
func TestMistakesInFiles(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"", "f: the file is empty"},
		{"# nothing\n", "f: the file is empty"},
		{"\x00", "f: this is not YAML"},
		{"port: \xff", "f: this is not YAML"},
		{"port: 1\nhost: a: b", "f:2: this is not YAML: mapping values are not allowed"},
		{"port: 1\n\thost: a", "f:2: this is not YAML"},
		{"*: {}", "f:1: this is not YAML: did not find expected alphabetic or numeric character: put quotes around a text that begins with *"},
		{"topics: {x: *y}", "f:1: this is not YAML: unknown anchor 'y'"},
		{"port: [1", "f:2: this is not YAML"},
		{"port: 1\n---\nport: 2", "f: the file has more than one YAML document"},
		{"just text", "f:1: the file is a single value: write settings such as `port: 8080`"},
		{"- port", "f:1: the file is a list"},
		{"~", "f:1: the file is empty"},
		{"prot: 1", "f:1: there is no setting `prot`: did you mean `port`?"},
		{"--port: 1", "f:1: there is no setting `--port`: did you mean `port`?"},
		{"NOTIFLUX_MAX_TOPICS: 1", "f:1: there is no setting `NOTIFLUX_MAX_TOPICS`: use `topics`, `allowed-origins`"},
		{"topic: {}", "f:1: there is no setting `topic`: did you mean `topics`?"},
		{"history: off", "f:1: `history` is a setting of single topics: write it into a section of `topics`; the section \"*\" has all topics without another one"},
		{"presence: off", "f:1: `presence` is a setting of single topics"},
		{"config: other.yaml", "f:1: `config` cannot be set in a file"},
		{"<<: {port: 1}", "f:1: there is no setting `<<`"},
		{"port: 1\nhost: h\nport: 2", "f:3: `port` occurs again: the first one is in line 1"},
		{"port:", "f:1: `port` has no value"},
		{"port: {a: 1}", "f:1: `port` is a mapping: write one value"},
		{"port: [[1]]", "f:1: `port` is a list: write one value"},
		{"[a, b]: 1", "f:1: a name is a list"},
		{"? \n: 1", "f:1: a name is empty"},
		{"topics: [a]", "f:1: `topics` is a list: write the settings of a topic or pattern in each line"},
		{"topics: chat", "f:1: `topics` is a single value"},
		{"topics:", "f:1: `topics` is empty"},
		{"topics: {chat: }", "f:1: section \"chat\" is empty: write {} to give it the settings of the server"},
		{"topics: {chat: off}", "f:1: section \"chat\" is a single value: write settings such as {history-messages: 1000}"},
		{"topics:\n  chat: [a]", "f:2: section \"chat\" is a list"},
		{"topics:\n  a: {}\n  b: {}\n  a: {}", "f:4: `a` occurs again: the first one is in line 2"},
		{"topics:\n  a:\n    history: off\n    history: on", "f:4: `history` occurs again: the first one is in line 3"},
		{"topics: {'': {}}", "f:1: section \"\": the topic is empty"},
		{"topics: {\"a\\u0000\": {}}", "f:1: section \"a\\x00\": the topic has the control character U+0000"},
		{"topics: {\"a\\u0000*\": {}}", "f:1: section \"a\\x00*\": before the * of the pattern, the topic has the control character"},
		{"topics: {" + strings.Repeat("x", 256) + ": {}}", "the topic has 256 bytes; the limit is 255"},
		{"topics: {a: {histroy: off}}", "f:1: section \"a\" has no setting `histroy`: did you mean `history`?"},
		{"topics: {a: {zzzzzzzz: 1}}", "f:1: section \"a\" has no setting `zzzzzzzz`: use `history`, `history-messages`"},
		{"topics: {a: {max-lag-bytes: 1}}", "f:1: section \"a\" has no setting `max-lag-bytes`"},
		{"topics: {a: {history: perhaps}}", "f:1: section \"a\": `history` is \"perhaps\": write on or off"},
		{"topics: {a: {presence: 0}}", "f:1: section \"a\": `presence` is \"0\": write on or off"},
		{"topics: {a: {history-messages: many}}", "`history-messages` is \"many\": give a whole number"},
		{"topics: {a: {history-messages: 99999999999999999999}}", "the number is too large"},
		{"topics: {a: {history-messages: [1]}}", "f:1: `history-messages` is a list: write one value"},
		{"topics: {a: {history-messages: }}", "f:1: `history-messages` has no value"},
		{"topics: {a: {history-bytes: 1MB}}", "`history-bytes` is \"1MB\": write a whole number of bytes"},
		{"topics: {a: {history-age: 5}}", "`history-age` is \"5\": use a duration such as 500ms, 30s, 5m or 24h"},
		// What only the settings as a whole can tell.
		{"topics: {a: {history-messages: 0}}", "f:1: section \"a\": `history-messages` is 0: use a number above zero, or `history: off`"},
		{"topics: {a: {history-messages: 2147483648}}", "use at most 2147483647"},
		{"topics: {a: {history-age: 0s}}", "`history-age` is 0s: use a duration above zero, such as 5m, or `history: off`"},
		{"topics: {a: {history: off, history-age: 1s}}", "f:1: section \"a\": `history` is off, but the section also says how much history to keep"},
		{"topics: {a: {history-bytes: 1KiB}}", "`history-bytes` is 1KiB: use at least 64KiB, which is the largest message of these topics"},
		{"topics: {a: {history-bytes: 1GiB}}", "`history-bytes` is 1GiB: use at most 256MiB, which is --history-total-bytes (NOTIFLUX_HISTORY_TOTAL_BYTES)"},
		{"topics: {a: {max-message-bytes: 0}}", "`max-message-bytes` is 0: use at least 1"},
		{"topics: {a: {max-message-bytes: 65KiB}}", "`max-message-bytes` is 65KiB: use at most 64KiB, which is --max-message-bytes (NOTIFLUX_MAX_MESSAGE_BYTES)"},
	} {
		f, problems := readText(t, test.text)
		c := valid()
		c.Sections = f.Sections
		for _, p := range c.Problems() {
			at, rest, _ := strings.Cut(p, ":")
			problems = append(problems, filepath.Base(at)+":"+rest)
		}
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
	f, problems := config.ReadFile(path, names)
	c := valid()
	c.Sections = f.Sections
	if problems = append(problems, c.Problems()...); len(problems) > 0 || len(c.Sections) != 4 {
		t.Errorf("%d sections, and the problems %q", len(c.Sections), problems)
	}
	if lobby := c.Topics().ForTopic("chat:lobby"); lobby.HistoryMessages != 100 || lobby.HistoryAge != 5*time.Minute {
		t.Errorf("chat:lobby has %+v", lobby)
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

func TestSectionsAreLimited(t *testing.T) {
	text := "topics:\n"
	for i := range 1001 {
		text += "  t" + strings.Repeat("x", i%100) + string(rune('a'+i/100)) + ": {}\n"
	}
	if _, problems := readText(t, text); len(problems) != 1 || !strings.Contains(problems[0], "f:1002: there are more than 1000 sections") {
		t.Errorf("1,001 sections have the problems %q", problems)
	}
}

// Elements of a list stay apart, whatever is in them: each could be a public topic.
func TestBackslashesInLists(t *testing.T) {
	for text, want := range map[string]string{
		"allowed-origins: ['a,b', c]":  "",
		`allowed-origins: ['a\b', c]`:  "",
		`allowed-origins: ['a\,b', c]`: "backslash",
		`allowed-origins: ['a\', c]`:   "backslash",
	} {
		if _, problems := readText(t, text); len(problems) != min(len(want), 1) || want != "" && !strings.Contains(problems[0], want) {
			t.Errorf("%s: %q, want %q", text, problems, want)
		}
	}
}

// A few lines cannot make millions of problems, by aliases.
func TestProblemsAreLimited(t *testing.T) {
	text := "topics:\n  a: &x\n"
	for i := range 1000 {
		text += fmt.Sprintf("    %s%d: 1\n", strings.Repeat("x", 300), i)
	}
	for i := range 999 {
		text += fmt.Sprintf("  t%d: *x\n", i)
	}
	_, problems := readText(t, text)
	if len(problems) != 101 || problems[100] != "f: there are more problems: correct these first" {
		t.Errorf("%d problems, the last is %q", len(problems), problems[len(problems)-1])
	}
	if n := len(problems[0]); n > 300 {
		t.Errorf("the first problem has %d bytes", n)
	}
}

// Whatever a file contains, reading it ends, and problems are single lines that name the file.
func FuzzReadFile(f *testing.F) {
	for _, seed := range []string{"port: 1\n", "topics:\n  'a*': {history: off}\n", "a: &x [*x]\n", "a: &x {b: *x}\n", "topics: &t {a: *t}\n", "{a: [}", "\"\\x00\\n\": \"a\\nb\""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		file, problems := readText(t, text)
		for _, p := range problems {
			if !strings.HasPrefix(p, "f:") {
				t.Errorf("%q has the problem %q", text, p)
			}
		}
		for _, s := range file.Sections {
			c := valid()
			c.Sections = []config.Section{s}
			c.Topics().ForTopic("a")
		}
		if slices.Contains(problems, "") {
			t.Errorf("%q has an empty problem", text)
		}
	})
}
