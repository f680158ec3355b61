package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

const (
	// maxSections limits the sections of topics in a file.
	maxSections = 1000
	// maxProblems limits what is said about one file. Aliases can make many of few lines.
	maxProblems = 100
	// maxShownBytes limits what is said of a name that is wrong.
	maxShownBytes = 80
)

// topicsMember is the member of a file that holds the sections of topics.
const topicsMember = "topics"

// A File is a file with settings, in YAML: the value of --config. Its members have the names
// of the flags, without the dashes. The member `topics` has a section for each topic, or
// pattern of topics, that has settings of its own.
type File struct {
	path   string
	values map[string]FileValue // by the name of the flag

	Unreadable bool      // the file cannot be read, or is not YAML
	Sections   []Section // in the order of the file
}

// A FileValue is the value of a setting in a file.
type FileValue struct {
	Text string // as an environment variable would have it; a list has commas between its elements
	List bool
	At   string // the file and the line, such as notiflux.yaml:3
}

// Value returns the value of a flag in the file, and whether the file has one.
func (f *File) Value(flag string) (v FileValue, ok bool) {
	v, ok = f.values[flag]
	return v, ok
}

// ReadFile reads the file at path. flags are the names of all flags, without dashes. The
// problems are those that can be seen in the file alone: most of them name the line. Even if
// there are some, the file has the values without problems.
func ReadFile(path string, flags []string) (*File, Problems) {
	f := &File{path: path, values: map[string]FileValue{}}
	text, err := ReadRegular(path, MaxFileBytes)
	if err != nil {
		f.Unreadable = true
		return f, Problems{Name("config") + ": " + err.Error()}
	}
	r := fileReader{file: f, flags: flags}
	r.read(text)
	return f, r.problems
}

// A fileReader reads one file.
type fileReader struct {
	file     *File
	flags    []string
	problems Problems
}

func (r *fileReader) read(text []byte) {
	var document yaml.Node
	if err := yaml.Load(text, &document); err != nil {
		r.file.Unreadable = true
		r.explain(err)
		return
	}
	for m := range r.members(document.Content[0], "the file", "settings such as `port: 8080`") {
		switch {
		case m.name == topicsMember:
			r.readSections(m)
		case m.name == "config":
			r.wrong(m.key, "`config` cannot be set in a file: remove the line")
		case slices.Contains([]string{"history", "presence"}, m.name):
			r.wrong(m.key, "`%s` is a setting of single topics: write it into a section of `%s`; the section \"*\" has all topics without another one", m.name, topicsMember)
		case !slices.Contains(r.flags, m.name):
			r.wrong(m.key, "there is no setting `%.*s`%s", maxShownBytes, m.name, suggest(m.name, append([]string{topicsMember}, r.flags...)))
		default:
			if v, ok := r.value(m); ok {
				r.file.values[m.name] = v
			}
		}
	}
}

// explain adds an error of the YAML library.
func (r *fileReader) explain(err error) {
	e, _ := errors.AsType[*yaml.LoadError](err)
	text, at := err.Error(), r.file.path
	if e != nil {
		text = e.Message
		if e.Mark.Line > 0 {
			at = r.at(e.Mark.Line)
		}
	}
	switch {
	case strings.Contains(text, "no documents"):
		text = "the file is empty: write settings such as `port: 8080`, or do not use the file"
	case strings.Contains(text, "found multiple"):
		text = "the file has more than one YAML document: remove the lines `---` between them"
	case e != nil && strings.Contains(e.ContextMsg, "an alias"):
		text = "this is not YAML: " + text + ": put quotes around a text that begins with *"
	default:
		text = "this is not YAML: " + text
	}
	r.problems = append(r.problems, at+": "+text)
}

// A member is a name with its value.
type member struct {
	name       string
	key, value *yaml.Node
}

// members returns the members of a mapping, without those whose name occurred before. what and
// right describe the mapping.
func (r *fileReader) members(n *yaml.Node, what, right string) func(yield func(member) bool) {
	n = resolve(n)
	return func(yield func(member) bool) {
		if n.Kind != yaml.MappingNode {
			r.wrong(n, "%s is %s: write %s", what, kindOf(n), right)
			return
		}
		first := map[string]int{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := resolve(n.Content[i])
			if key.Kind != yaml.ScalarNode || key.Tag == "!!null" {
				r.wrong(key, "a name is %s: write a single word, or a topic in quotes", kindOf(key))
				continue
			}
			if line, again := first[key.Value]; again {
				r.wrong(key, "`%.*s` occurs again: the first one is in line %d; keep one of them", maxShownBytes, key.Value, line)
				continue
			}
			first[key.Value] = key.Line
			if len(r.problems) > maxProblems || !yield(member{key.Value, key, resolve(n.Content[i+1])}) {
				return
			}
		}
	}
}

// value returns the value of a setting: one value, or a list of them.
func (r *fileReader) value(m member) (v FileValue, ok bool) {
	v.At = r.at(m.key.Line)
	if m.value.Kind != yaml.SequenceNode {
		v.Text, ok = r.scalar(m, m.value)
		return v, ok
	}
	v.List = true
	var elements []string
	for _, n := range m.value.Content {
		text, ok := r.scalar(m, resolve(n))
		if !ok {
			return v, false
		}
		if strings.Contains(text, `\,`) || strings.HasSuffix(text, `\`) {
			// What splits the text again would take the backslash for one that escapes the comma.
			r.wrong(n, "`%s` has an element with a backslash before a comma or at its end: that is not possible in a list", m.name)
			return v, false
		}
		elements = append(elements, strings.ReplaceAll(text, ",", `\,`))
	}
	v.Text = strings.Join(elements, ",")
	return v, true
}

// scalar returns the text of a single value.
func (r *fileReader) scalar(m member, n *yaml.Node) (text string, ok bool) {
	switch {
	case n.Kind != yaml.ScalarNode:
		r.wrong(m.key, "`%s` is %s: write one value", m.name, kindOf(n))
	case n.Tag == "!!null":
		r.wrong(m.key, "`%s` has no value: write one, or remove the line", m.name)
	default:
		return n.Value, true
	}
	return "", false
}

// resolve returns the node that an alias stands for.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}

func kindOf(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!null":
		return "empty"
	}
	return "a single value"
}

// at returns how problems name a line.
func (r *fileReader) at(line int) string { return fmt.Sprintf("%s:%d", r.file.path, line) }

func (r *fileReader) wrong(n *yaml.Node, format string, args ...any) {
	switch known := len(r.problems); {
	case known < maxProblems:
		r.problems = append(r.problems, r.at(n.Line)+": "+fmt.Sprintf(format, args...))
	case known == maxProblems:
		r.problems = append(r.problems, r.file.path+": there are more problems: correct these first")
	}
}

// suggest returns the end of a sentence about an unknown name: the nearest right one, or, if
// none is near, all of them if they are few.
func suggest(name string, right []string) string {
	best, least := "", max(2, len(name)/3)+1
	for _, r := range right {
		if len(name) > maxShownBytes {
			break
		}
		if d := distance(name, r); d < least {
			best, least = r, d
		}
	}
	switch {
	case best != "":
		return ": did you mean `" + best + "`?"
	case len(right) <= 10:
		return ": use `" + strings.Join(right, "`, `") + "`"
	}
	return ": `notiflux serve -h` lists the settings"
}

// distance returns how many letters must be inserted, removed or replaced to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0]++
		for j := range len(b) {
			d := diagonal
			if a[i] != b[j] {
				d = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], d
		}
	}
	return row[len(b)]
}
