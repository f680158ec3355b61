package notiflux_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/ikornaselur/notiflux"

// allowed are the imports inside the module that each package may have: down
// the way of a message, never up. Tests of a package may import what they drive.
var allowed = map[string][]string{
	".":                          {},
	"internal/wire":              {"."},
	"internal/topiclog":          {"."},
	"internal/auth":              {"."},
	"internal/origin":            {},
	"internal/config":            {},
	"internal/metrics":           {},
	"internal/hub":               {".", "internal/topiclog"},
	"internal/broker":            {"."},
	"internal/broker/brokertest": {".", "internal/broker", "internal/hub", "internal/topiclog"},
	"internal/loop":              {},
	"internal/worker":            {},
	"internal/presence":          {"."},
	"internal/answer":            {".", "internal/hub", "internal/topiclog", "internal/wire"},
	"internal/session":           {".", "internal/answer", "internal/auth", "internal/hub", "internal/presence", "internal/topiclog", "internal/wire"},
	"internal/transport":         {".", "internal/wire"},
	"internal/httpapi":           {".", "internal/answer", "internal/auth", "internal/hub", "internal/origin", "internal/presence", "internal/wire"},
	"internal/bench":             {".", "internal/auth"},
	"internal/server": {".", "docs", "internal/httpapi", "internal/auth", "internal/broker", "internal/config", "internal/hub", "internal/loop",
		"internal/metrics", "internal/origin", "internal/presence", "internal/session", "internal/topiclog", "internal/transport", "internal/wire", "internal/worker"},
	"docs":         {},
	"client":       {"."},
	"cmd/notiflux": {".", "client", "internal/auth", "internal/bench", "internal/config", "internal/server"},

	// What only tests use.
	"internal/internaltest/authtest":   {"internal/auth"},
	"internal/internaltest/delivery":   {"."},
	"internal/internaltest/echo":       {"internal/loop", "internal/transport", "internal/wire"},
	"internal/internaltest/frametest":  {"internal/transport"},
	"internal/internaltest/memnet":     {},
	"internal/internaltest/servertest": {".", "internal/auth", "internal/config", "internal/server"},
}

// standardOnly are the packages that import nothing but the standard library
// and what is allowed above.
var standardOnly = []string{".", "internal/topiclog", "internal/hub", "internal/broker", "internal/presence", "internal/worker", "internal/origin", "internal/config", "internal/internaltest/delivery", "internal/internaltest/memnet"}

const (
	maxFileLines     = 600
	maxTestFileLines = 900
	maxFunctionLines = 100
	maxDirect        = 20
)

// source is a Go file of the module.
type source struct {
	path, dir string
	test      bool
	file      *ast.File
	set       *token.FileSet
}

func sources(t *testing.T) (all []source) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && strings.HasPrefix(d.Name(), "."), d.IsDir() && d.Name() == "testdata":
			return fs.SkipDir
		case filepath.Ext(path) != ".go":
			return nil
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, parser.ParseComments)
		all = append(all, source{path, filepath.ToSlash(filepath.Dir(path)), strings.HasSuffix(path, "_test.go"), file, set})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestImportsGoDown(t *testing.T) {
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		edges, known := allowed[s.dir]
		if !known {
			t.Errorf("package %s is not in the table of allowed imports", s.dir)
		}
		for _, i := range s.file.Imports {
			path, _ := strconv.Unquote(i.Path.Value)
			inside, ours := strings.CutPrefix(path, module)
			switch inside = strings.TrimPrefix(inside, "/"); {
			case ours && inside == "":
				inside = "."
				fallthrough
			case ours:
				if !slices.Contains(edges, inside) {
					t.Errorf("%s imports %s, which is not below it", s.path, inside)
				}
			case strings.Contains(strings.Split(path, "/")[0], ".") && slices.Contains(standardOnly, s.dir):
				t.Errorf("%s imports %s: the package does with the standard library", s.path, path)
			}
		}
	}
}

func TestFilesAndFunctionsFitAReader(t *testing.T) {
	for _, s := range sources(t) {
		most := maxFileLines
		if s.test {
			most = maxTestFileLines
		}
		if n := s.set.Position(s.file.End()).Line; n > most {
			t.Errorf("%s has %d lines, the limit is %d", s.path, n, most)
		}
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok {
				if n := s.set.Position(f.End()).Line - s.set.Position(f.Pos()).Line + 1; n > maxFunctionLines {
					t.Errorf("%s: %s has %d lines, the limit is %d", s.path, f.Name.Name, n, maxFunctionLines)
				}
			}
		}
	}
}

// Sleeping tests are slow or flaky. Inside a synctest bubble time is fake.
func TestTestsDoNotSleep(t *testing.T) {
	for _, s := range sources(t) {
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			switch name(call.Fun) {
			case "synctest.Test":
				return false
			case "time.Sleep":
				t.Errorf("%s sleeps outside of a bubble", s.set.Position(call.Pos()))
			}
			return true
		})
	}
}

func TestFewDirectDependencies(t *testing.T) {
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	direct := 0
	for line := range strings.Lines(string(mod)) {
		if strings.HasPrefix(line, "\t") && strings.Contains(line, " v") && !strings.Contains(line, "// indirect") {
			direct++
		}
	}
	if direct == 0 || direct > maxDirect {
		t.Errorf("go.mod has %d direct dependencies, the limit is %d", direct, maxDirect)
	}
}

func name(e ast.Expr) string {
	if s, ok := e.(*ast.SelectorExpr); ok {
		if x, ok := s.X.(*ast.Ident); ok {
			return x.Name + "." + s.Sel.Name
		}
	}
	return ""
}
