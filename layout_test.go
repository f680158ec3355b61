package notiflux_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
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
	"internal/pubsub":             {},
	"internal/strictjson":         {"internal/pubsub"},
	"internal/wsframe":            {},
	"internal/wire":               {"internal/pubsub", "internal/strictjson", "internal/wsframe"},
	"internal/keyfile":            {"internal/strictjson"},
	"internal/auth":               {"internal/pubsub", "internal/keyfile", "internal/strictjson", "internal/worker"},
	"internal/revoke":             {"internal/auth", "internal/pubsub"},
	"internal/jwks":               {"internal/pubsub", "internal/auth", "internal/config"},
	"internal/adminapi":           {"internal/auth", "internal/control", "internal/explain", "internal/origin", "internal/pubsub", "internal/revoke", "internal/router"},
	"internal/explain":            {"internal/auth", "internal/pubsub"},
	"internal/origin":             {},
	"internal/forwarded":          {},
	"internal/quota":              {"internal/forwarded", "internal/pubsub"},
	"internal/config":             {"internal/pubsub"},
	"internal/prefixes":           {},
	"internal/topic":              {"internal/prefixes", "internal/pubsub"},
	"internal/broker":             {"internal/pubsub", "internal/presence", "internal/topic"},
	"internal/broker/memory":      {"internal/pubsub", "internal/broker", "internal/topic"},
	"internal/broker/remote":      {"internal/pubsub", "internal/broker", "internal/presence", "internal/topic"},
	"internal/broker/redis":       {"internal/pubsub", "internal/broker", "internal/broker/remote", "internal/topic", "internal/worker"},
	"internal/broker/brokertest":  {"internal/pubsub", "internal/broker", "internal/topic"},
	"internal/listen":             {"internal/pubsub", "internal/config", "internal/forwarded"},
	"internal/loop":               {},
	"internal/posts":              {},
	"internal/worker":             {"internal/pubsub"},
	"internal/presence":           {"internal/pubsub"},
	"internal/fanout":             {"internal/pubsub", "internal/topic"},
	"internal/format":             {"internal/topic", "internal/wire"},
	"internal/control":            {"internal/pubsub", "internal/auth", "internal/session", "internal/wire"},
	"internal/answer":             {"internal/pubsub", "internal/topic", "internal/wire"},
	"internal/resume":             {"internal/pubsub", "internal/topic", "internal/wire"},
	"internal/reading":            {"internal/pubsub", "internal/resume", "internal/strictjson", "internal/topic", "internal/wire"},
	"internal/session":            {"internal/pubsub", "internal/auth", "internal/broker", "internal/fanout", "internal/format", "internal/topic", "internal/wire"},
	"internal/dialect/v1text":     {"internal/pubsub", "internal/auth", "internal/session", "internal/topic", "internal/wire"},
	"internal/dialect/v1json":     {"internal/pubsub", "internal/answer", "internal/auth", "internal/session", "internal/strictjson", "internal/topic", "internal/wire"},
	"internal/dialect/httpstream": {"internal/pubsub", "internal/session", "internal/topic", "internal/wire"},
	"internal/clients":            {"internal/auth", "internal/listen", "internal/loop", "internal/quota", "internal/session", "internal/transport"},
	"internal/transport":          {"internal/pubsub", "internal/wire", "internal/wsframe"},
	"internal/httpapi": {"internal/pubsub", "docs", "internal/answer", "internal/auth", "internal/broker", "internal/clients", "internal/control", "internal/listen", "internal/loop", "internal/origin", "internal/presence", "internal/quota",
		"internal/reading", "internal/resume", "internal/router", "internal/session", "internal/strictjson", "internal/topic", "internal/transport", "internal/wire"},
	"internal/router": {"internal/pubsub", "internal/auth", "internal/origin", "internal/wire"},
	"internal/admin":  {"internal/pubsub", "internal/auth", "internal/broker", "internal/router", "internal/session", "internal/topic", "internal/wire"},
	"internal/bench":  {"internal/pubsub", "internal/auth", "internal/wsframe"},
	"internal/server": {"internal/pubsub", "internal/admin", "internal/adminapi", "internal/explain", "internal/revoke", "internal/httpapi", "internal/auth", "internal/broker", "internal/broker/memory", "internal/broker/redis", "internal/clients", "internal/config", "internal/control", "internal/dialect/httpstream", "internal/dialect/v1json", "internal/dialect/v1text", "internal/jwks", "internal/topic", "internal/forwarded", "internal/listen", "internal/loop",
		"internal/origin", "internal/posts", "internal/presence", "internal/quota", "internal/session", "internal/transport", "internal/wire", "internal/worker"},
	"docs":                        {},
	"client":                      {"client/internal/call", "client/internal/connect", "client/internal/pattern", "client/internal/rest", "client/internal/tokens", "client/internal/wire"},
	"client/internal/call":        {"client/internal/connect", "client/internal/rest", "client/internal/tokens", "client/internal/wire"},
	"client/internal/connect":     {"client/internal/eventstream", "client/internal/rest", "client/internal/socket", "client/internal/wire"},
	"client/internal/eventstream": {"client/internal/rest", "client/internal/wire"},
	"client/internal/pattern":     {"client/internal/connect", "client/internal/rest", "client/internal/tokens", "client/internal/wire"},
	"client/internal/rest":        {"client/internal/wire"},
	"client/internal/socket":      {"client/internal/wire"},
	"client/internal/tokens":      {},
	"client/internal/wire":        {},
	"examples/go-client":          {"client"},
	"cmd/notiflux":                {"internal/pubsub", "client", "internal/auth", "internal/bench", "internal/config", "internal/explain", "internal/server"},

	// What only tests use: TestOnlyTestsImportTestCode.
	"internal/internaltest/authtest":   {"internal/auth"},
	"internal/internaltest/delivery":   {"internal/pubsub"},
	"internal/internaltest/echo":       {"internal/loop", "internal/transport", "internal/wire", "internal/wsframe"},
	"internal/internaltest/frametest":  {"internal/transport", "internal/wsframe"},
	"internal/internaltest/logtest":    {},
	"internal/internaltest/memnet":     {},
	"internal/internaltest/rawclient":  {"internal/pubsub", "internal/internaltest/delivery", "internal/wsframe"},
	"internal/internaltest/toydialect": {"internal/pubsub", "internal/auth", "internal/session", "internal/topic", "internal/wire"},
	"internal/internaltest/redistest":  {},
	"internal/internaltest/vectors":    {"internal/pubsub", "internal/topic", "internal/wire"},
	"internal/internaltest/servertest": {"internal/pubsub", "internal/auth", "internal/broker", "internal/broker/brokertest/fakestore", "internal/broker/redis", "internal/config", "internal/server", "internal/internaltest/logtest", "internal/internaltest/redistest"},

	"internal/broker/brokertest/fakestore": {"internal/pubsub", "internal/broker", "internal/broker/remote", "internal/topic"},
}

// standardOnly are the packages that import nothing but the standard library
// and what is allowed above.
var standardOnly = []string{"internal/pubsub", "internal/topic", "internal/broker", "internal/broker/memory", "internal/broker/remote", "internal/presence", "internal/worker", "internal/origin", "internal/internaltest/delivery", "internal/internaltest/memnet", "internal/wsframe", "internal/fanout", "internal/prefixes"}

const (
	maxFileLines     = 600
	maxTestFileLines = 900
	maxFunctionLines = 100
	maxDirect        = 20

	maxPackageLines = 2499 // without tests, as wc -l counts
	maxMethods      = 40   // of one type, without tests
	maxImports      = 7    // packages of ours that one package imports
)

// wide are the packages that bring others together, so that no other has to.
var wide = []string{"internal/server", "internal/httpapi", "internal/internaltest/servertest"}

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

func TestFewImportsOfOurs(t *testing.T) {
	for dir, edges := range importsOfOurs(t) {
		if len(edges) > maxImports && !slices.Contains(wide, dir) {
			t.Errorf("package %s imports %d packages of the module, the limit is %d: %s", dir, len(edges), maxImports, strings.Join(slices.Sorted(maps.Keys(edges)), ", "))
		}
	}
}

// A program that imports the client compiles nothing of the server.
func TestTheClientNeedsNothingOfTheServer(t *testing.T) {
	for dir, edges := range importsOfOurs(t) {
		for inside := range edges {
			if (dir == "client" || strings.HasPrefix(dir, "client/")) && !strings.HasPrefix(inside, "client/") {
				t.Errorf("%s imports %s, which is not a part of the client", dir, inside)
			}
		}
	}
}

func TestOnlyTestsImportTestCode(t *testing.T) {
	for dir, edges := range importsOfOurs(t) {
		for inside := range edges {
			if forTests(inside) && !forTests(dir) {
				t.Errorf("package %s imports %s, which is for tests only", dir, inside)
			}
		}
	}
}

func forTests(dir string) bool {
	return strings.HasPrefix(dir, "internal/internaltest/") || strings.HasPrefix(dir, "internal/broker/brokertest")
}

// importsOfOurs returns which packages of the module each package imports,
// without its tests.
func importsOfOurs(t *testing.T) map[string]map[string]bool {
	t.Helper()
	edges := map[string]map[string]bool{}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		for _, i := range s.file.Imports {
			path, _ := strconv.Unquote(i.Path.Value)
			if inside, ours := strings.CutPrefix(path, module); ours {
				if edges[s.dir] == nil {
					edges[s.dir] = map[string]bool{}
				}
				edges[s.dir][strings.TrimPrefix(inside, "/")] = true
			}
		}
	}
	return edges
}

func TestPackagesAndTypesAreSmall(t *testing.T) {
	lines, methods := map[string]int{}, map[string]int{}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		text, err := os.ReadFile(s.path)
		if err != nil {
			t.Fatal(err)
		}
		lines[s.dir] += bytes.Count(text, []byte("\n"))
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv != nil {
				methods[s.dir+"."+receiver(f.Recv.List[0].Type)]++
			}
		}
	}
	for _, sizes := range []struct {
		of   map[string]int
		most int
		unit string
	}{{lines, maxPackageLines, "lines"}, {methods, maxMethods, "methods"}} {
		for name, n := range sizes.of {
			if n > sizes.most {
				t.Errorf("%s has %d %s, the limit is %d", name, n, sizes.unit, sizes.most)
			}
		}
	}
}

// receiver returns the name of the type that a method belongs to.
func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
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
