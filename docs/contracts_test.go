package docs_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/ikornaselur/notiflux/internal/dialect/v1json"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// These tests compare schemas.json, the test vectors and the Go code. A schema that is not
// only a part of others has the same name as a file of vectors.

const (
	wireFolder     = "../internal/wire"
	dialectsFolder = "../internal/dialect"
	vectorsFolder  = wireFolder + "/testdata"
)

// parts are the schemas without vectors: they are only parts of others.
var parts = []string{"id", "topic", "pattern", "token", "key", "connection", "code", "refusal", "beginning", "beginnings", "member", "gone", "cursored", "line-ping",
	"element", "published", "failed", "outcomes", "frame"}

// tolerated lists vectors that the server accepts but that clients should not send. The
// value is the reason.
var tolerated = map[string]string{
	"command-subscribe: since of other topics, which is not checked": "the server ignores such a since",
}

// inexpressible lists vectors that the server refuses as malformed, but that JSON Schema
// cannot tell from valid input. The value is the reason.
var inexpressible = map[string]string{
	"command: a member twice":                               duplicate,
	"command: a member twice, one with an escape":           duplicate,
	"command: a member of no meaning twice":                 duplicate,
	"command: a member twice further inside":                duplicate,
	"command-subscribe: since has a topic twice":            duplicate,
	"command: half a surrogate pair":                        half,
	"command-broadcast: half a surrogate pair, then the id": half,
	"request-broadcast: half a surrogate pair":              half,
	"command: too deep":                                     "a schema cannot limit the depth",
	"command: id minus zero":                                number,
	"command: id with a fraction":                           number,
	"command: id with an exponent":                          number,
	"command-subscribe: last with an exponent":              number,
	"command-subscribe: since over 64 bits":                 offset,
	"position: over 64 bits":                                offset,
	"request-broadcast: a member twice":                     duplicate,
	"request-read: a member twice":                          duplicate,
	"request-read: half a surrogate pair":                   half,
}

const (
	half      = "the parser replaces it with U+FFFD"
	duplicate = "the parser drops one of the two"
	number    = "to a schema, 1, 1.0 and 1e0 are the same number"
	offset    = "a pattern for numbers up to 2^64-1 would be longer than this file"
)

// opaque are the files whose values JSON Schema cannot look into.
var opaque = []string{"cursor", "event"}

// A vector is one entry of a file of vectors, with the members that these tests use.
type vector struct {
	Name             string
	Value, Parsed    json.RawMessage
	Input            string
	Position, Cursor string
	Code             pubsub.Code // of an invalid vector
}

type vectorFile struct {
	Valid, Invalid []vector
}

// vectorFiles returns the files of vectors by the name of their schema.
func vectorFiles(t *testing.T) map[string]vectorFile {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(vectorsFolder, "*.json"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no vectors: %v", err)
	}
	all := make(map[string]vectorFile)
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var f vectorFile
		if err := json.Unmarshal(text, &f); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all[strings.TrimSuffix(filepath.Base(path), ".json")] = f
	}
	return all
}

// value returns the JSON value of a valid vector, or false if it has none.
func (v vector) value(t *testing.T, file string) (any, bool) {
	t.Helper()
	switch {
	case v.Value != nil:
		return decode(t, string(v.Value)), true
	case file == "event":
		var event *struct{ Data string }
		if err := json.Unmarshal(v.Parsed, &event); err != nil {
			t.Fatalf("%s: %s: %v", file, v.Name, err)
		}
		if event == nil {
			return nil, false
		}
		return decode(t, event.Data), true
	case file == "position":
		return v.Position, true
	case file == "cursor":
		return v.Cursor, true
	}
	return decode(t, v.Input), true
}

// union returns the name of the union schema that includes the schema of a file, or an empty
// string.
func union(file string) string {
	switch {
	case strings.HasPrefix(file, "command-"):
		return "command"
	case file == "frame-hello": // only streams have it
		return "event"
	case strings.HasPrefix(file, "frame-"), file == "message":
		return "frame"
	}
	return ""
}

func TestValidVectors(t *testing.T) {
	open, closed := newCompiler(t, read(t, "schemas.json")), newCompiler(t, closing(read(t, "schemas.json")))
	for file, vectors := range vectorFiles(t) {
		for _, v := range vectors.Valid {
			value, ok := v.value(t, file)
			if !ok {
				continue
			}
			c := closed // The server sends only members that the schema names.
			if strings.HasPrefix(file, "command") || strings.HasPrefix(file, "request") {
				c = open
			}
			_, exception := tolerated[file+": "+v.Name]
			for _, schema := range []string{file, union(file)} {
				if schema == "" {
					continue
				}
				if err := definition(t, c, schema).Validate(value); (err != nil) != exception {
					t.Errorf("%s: %s: %v by %s; tolerated: %t", file, v.Name, err, schema, exception)
				}
			}
		}
	}
}

func TestInvalidVectors(t *testing.T) {
	c := newCompiler(t, read(t, "schemas.json"))
	found := 0
	for file, vectors := range vectorFiles(t) {
		if slices.Contains(opaque, file) {
			continue
		}
		for _, v := range vectors.Invalid {
			if v.Code != pubsub.Malformed {
				continue
			}
			reason, exception := inexpressible[file+": "+v.Name]
			if exception {
				found++
			}
			valid := true
			for _, schema := range []string{file, union(file)} {
				if schema == "" {
					continue
				}
				valid = valid && validates(definition(t, c, schema), file, v.Input)
			}
			if valid != exception {
				t.Errorf("%s: %s: validates: %t, want %t (%s)", file, v.Name, valid, exception, reason)
			}
		}
	}
	if found != len(inexpressible) {
		t.Errorf("%d of the %d exceptions are vectors", found, len(inexpressible))
	}
}

func validates(s *jsonschema.Schema, file, input string) bool {
	if file == "position" {
		return s.Validate(input) == nil
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(input))
	return err == nil && s.Validate(value) == nil
}

// Each schema has vectors, and each file of vectors has a schema.
func TestEverySchemaHasVectors(t *testing.T) {
	schemas := read(t, "schemas.json")["$defs"].(object)
	files := vectorFiles(t)
	for name := range schemas {
		if _, ok := files[name]; ok == slices.Contains(parts, name) {
			t.Errorf("the schema %s has vectors: %t; part of others: %t", name, ok, !ok)
		}
	}
	for file := range files {
		if schemas[file] == nil {
			t.Errorf("the vectors of %s have no schema", file)
		}
	}
}

// Each member that a schema names occurs in a vector: some vector fails if the schema forbids
// the member.
func TestEveryMemberHasAVector(t *testing.T) {
	values := make(map[string][]any)
	for file, vectors := range vectorFiles(t) {
		for _, v := range vectors.Valid {
			_, exception := tolerated[file+": "+v.Name]
			if value, ok := v.value(t, file); ok && !exception {
				values[file] = append(values[file], value)
			}
		}
	}
	schemas := read(t, "schemas.json")
	n := 0
	walk(schemas, "", func(path string, o object) {
		properties, _ := o["properties"].(object)
		for _, name := range slices.Collect(maps.Keys(properties)) {
			n++
			member := properties[name]
			properties[name] = false
			if !anyFails(t, newCompiler(t, schemas), strings.Split(path, "/")[2], values) {
				t.Errorf("no vector has %s of %s", name, path)
			}
			properties[name] = member
		}
	})
	if n < 100 {
		t.Errorf("only %d members", n)
	}
}

// anyFails reports whether c refuses any of the values. It tries those of the likeliest file
// first.
func anyFails(t *testing.T, c *jsonschema.Compiler, likeliest string, values map[string][]any) bool {
	fails := func(file string) bool {
		s := definition(t, c, file)
		return slices.ContainsFunc(values[file], func(value any) bool { return s.Validate(value) != nil })
	}
	return values[likeliest] != nil && fails(likeliest) || slices.ContainsFunc(slices.Sorted(maps.Keys(values)), fails)
}

// Each type of object that the server can write has the schema of a frame or line, and each
// type of command that it knows has a schema too.
func TestEveryTypeHasASchema(t *testing.T) {
	schemas := read(t, "schemas.json")["$defs"].(object)
	written := writtenTypes(t)
	for _, kind := range written {
		if kind != "message" && schemas["frame-"+kind] == nil && schemas["line-"+kind] == nil {
			t.Errorf("the server writes objects of type %s, which have no schema", kind)
		}
	}
	for name := range schemas {
		if kind, ok := strings.CutPrefix(name, "frame-"); ok && !slices.Contains(written, kind) {
			t.Errorf("the server writes no objects of type %s", kind)
		}
	}
	commands := v1json.CommandTypes
	for _, kind := range commands {
		if schemas["command-"+kind] == nil {
			t.Errorf("the command %q has no schema", kind)
		}
	}
	for name := range schemas {
		if kind, ok := strings.CutPrefix(name, "command-"); ok && !slices.Contains(commands, kind) {
			t.Errorf("there is no command %q", kind)
		}
	}
}

// Each union includes all schemas of its kind.
func TestUnionsAreComplete(t *testing.T) {
	schemas := read(t, "schemas.json")["$defs"].(object)
	for _, kind := range []string{"command", "frame"} {
		var members []string
		for _, one := range schemas[kind].(object)["oneOf"].([]any) {
			members = append(members, strings.TrimPrefix(one.(object)["$ref"].(string), "#/$defs/"))
		}
		for name := range schemas {
			if strings.HasPrefix(name, kind+"-") && union(name) == kind && !slices.Contains(members, name) {
				t.Errorf("%s has no %s", kind, name)
			}
		}
	}
}

// The examples in the schema of codes are all codes of the server.
func TestCodes(t *testing.T) {
	var listed []string
	for _, code := range read(t, "schemas.json")["$defs"].(object)["code"].(object)["examples"].([]any) {
		listed = append(listed, code.(string))
	}
	var codes []string
	for _, file := range sources(t, "../internal/pubsub") {
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok {
				if kind, ok := spec.Type.(*ast.Ident); ok && kind.Name == "Code" {
					codes = append(codes, unquote(spec.Values[0]))
				}
			}
			return true
		})
	}
	slices.Sort(listed)
	slices.Sort(codes)
	if len(codes) == 0 || !slices.Equal(listed, codes) {
		t.Errorf("schemas.json lists %q, the code has %q", listed, codes)
	}
}

var (
	typeMember = regexp.MustCompile(`\{"type":"([a-z]+)"`)
	word       = regexp.MustCompile(`^[a-z]+$`)
)

// writtenTypes returns the types of the JSON objects that the server can write. It finds them
// in the source: in arguments of append functions, in struct literals with a field Type, and
// in string literals.
func writtenTypes(t *testing.T) []string {
	t.Helper()
	all := make(map[string]bool)
	files := slices.Concat(sources(t, wireFolder), sources(t, dialectsFolder+"/v1json"), sources(t, dialectsFolder+"/httpstream"))
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if f, ok := n.Fun.(*ast.Ident); ok && strings.HasPrefix(f.Name, "append") && len(n.Args) > 1 {
					if kind := unquote(n.Args[1]); word.MatchString(kind) {
						all[kind] = true
					}
				}
			case *ast.CompositeLit:
				if f, ok := n.Type.(*ast.StructType); ok && f.Fields.List[0].Names[0].Name == "Type" {
					all[unquote(n.Elts[0])] = true
				}
			case *ast.BasicLit:
				if m := typeMember.FindStringSubmatch(unquote(n)); m != nil {
					all[m[1]] = true
				}
			}
			return true
		})
	}
	return slices.Sorted(maps.Keys(all))
}

// sources returns the parsed Go files of a folder, without its tests.
func sources(t *testing.T, folder string) (all []*ast.File) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no Go files in %s: %v", folder, err)
	}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, file)
	}
	return all
}

// unquote returns the value of a string literal, or an empty string if n is not one.
func unquote(n ast.Expr) string {
	lit, ok := n.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return ""
	}
	s, _ := strconv.Unquote(lit.Value)
	return s
}
