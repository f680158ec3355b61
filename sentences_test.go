package notiflux_test

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/sentences.golden")

const sentencesFile = "testdata/sentences.golden"

// sentenceTables says where the sentences stand in the source: which argument of a call,
// or which field of a composite literal.
var sentenceTables = []struct {
	title string
	in    func(dir string) bool
	calls map[string]arguments // by the function as it is called
	field map[string]string    // by the type of the literal: the field
}{
	{
		title: "Refusals that clients and publishers receive",
		in:    func(dir string) bool { return strings.HasPrefix(dir, "internal/") && !forTests(dir) },
		calls: map[string]arguments{"pubsub.Errorf": {0, 1}, "Errorf": {0, 1}, "invalid": {none, 0}, "malformed": {none, 0}},
		field: map[string]string{"Error": "Detail"},
	},
	{
		title: "Reasons in close frames",
		in:    func(dir string) bool { return strings.HasPrefix(dir, "internal/") && !forTests(dir) },
		calls: map[string]arguments{"w.refuse": {0, 1}},
		field: map[string]string{"End": "Reason"},
	},
	{
		title: "Errors of commands, settings and keys",
		in: func(dir string) bool {
			return slices.Contains([]string{"cmd/notiflux", "internal/config", "internal/auth", "internal/origin", "internal/listen"}, dir)
		},
		calls: map[string]arguments{"errors.New": {none, 0}, "fmt.Errorf": {none, 0}, "usagef": {none, 0}, "p.when": {1, 2}},
	},
	{
		title: "Errors of the Go client",
		in:    func(dir string) bool { return dir == "client" || strings.HasPrefix(dir, "client/") },
		calls: map[string]arguments{"errors.New": {none, 0}, "fmt.Errorf": {none, 0}},
	},
}

// arguments are the indexes of the arguments that hold a code or flag, and a sentence.
type arguments struct{ code, text int }

const none = -1

// The golden file holds every sentence of an error that users see, so that they can be
// read and reviewed in one sitting. A changed sentence is written with
// go test -run TestSentences . -update.
func TestSentences(t *testing.T) {
	got := listSentences(t)
	if *update {
		if err := os.WriteFile(sentencesFile, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(sentencesFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is out of date: read what changed, and run go test -run TestSentences . -update", sentencesFile)
	}
}

// listSentences returns the sentences of all tables, by file, as formats.
func listSentences(t *testing.T) []byte {
	var out bytes.Buffer
	out.WriteString("Written by TestSentences from the source. Verbs such as %s stand for values.\n")
	for _, table := range sentenceTables {
		fmt.Fprintf(&out, "\n# %s\n", table.title)
		for _, s := range sources(t) {
			if s.test || !table.in(s.dir) {
				continue
			}
			var lines []string
			ast.Inspect(s.file, func(n ast.Node) bool {
				code, text := "", ""
				switch n := n.(type) {
				case *ast.CallExpr:
					if at, ok := table.calls[calledName(n.Fun)]; ok && at.text < len(n.Args) {
						text = literal(n.Args[at.text])
						if at.code != none {
							code = codeOf(n.Args[at.code])
						}
					}
				case *ast.CompositeLit:
					text = literal(fieldOf(n, table.field[typeName(n.Type)]))
					code = codeOf(fieldOf(n, "CloseCode"))
				}
				if hasWords(text) {
					lines = append(lines, strings.TrimSpace(fmt.Sprintf("%-20s %s", code, text)))
				}
				return true
			})
			if len(lines) > 0 {
				fmt.Fprintf(&out, "\n%s\n\t%s\n", s.path, strings.Join(lines, "\n\t"))
			}
		}
	}
	return out.Bytes()
}

// calledName returns f, pkg.F or x.f for the function of a call.
func calledName(e ast.Expr) string {
	if i, ok := e.(*ast.Ident); ok {
		return i.Name
	}
	return name(e)
}

// typeName returns the name of the type of a composite literal, without its package.
func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

// fieldOf returns the value of a field of a composite literal, or nil.
func fieldOf(c *ast.CompositeLit, field string) ast.Expr {
	for _, e := range c.Elts {
		if pair, ok := e.(*ast.KeyValueExpr); ok && field != "" && calledName(pair.Key) == field {
			return pair.Value
		}
	}
	return nil
}

// codeOf returns the name of a code, or the flag that a setting belongs to.
func codeOf(e ast.Expr) string {
	if text := literal(e); text != "" {
		return "--" + text
	}
	return typeName(e)
}

// literal returns the string literals of an expression, with … for its other parts.
func literal(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if text, err := strconv.Unquote(e.Value); err == nil && e.Kind == token.STRING {
			return text
		}
	case *ast.BinaryExpr:
		x, y := literal(e.X), literal(e.Y)
		switch {
		case x == "" && y == "":
			return ""
		case x == "":
			return "…" + y
		case y == "":
			return x + "…"
		}
		return x + y
	case *ast.CallExpr:
		if len(e.Args) > 0 {
			return literal(e.Args[0])
		}
	}
	return ""
}

// hasWords reports whether text is more than the context of another error, as in "%s: %w".
func hasWords(text string) bool { return strings.Count(text, " ") > 1 }
