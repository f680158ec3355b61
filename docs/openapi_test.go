package docs_test

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/docs"
)

var update = flag.Bool("update", false, "write openapi.json")

const (
	inFile   = "schemas.json#/$defs/"
	inBundle = "#/components/schemas/"
)

// openapi.json contains openapi.yaml and the schemas that it refers to.
func TestOpenAPIIsBundled(t *testing.T) {
	document := readYAML(t, "openapi.yaml")
	schemas, _ := read(t, "schemas.json")["$defs"].(object)
	bundled := make(object)
	bundle(t, document, schemas, bundled)
	document["components"].(object)["schemas"] = bundled
	want := encode(t, document)
	if *update {
		if err := os.WriteFile("openapi.json", want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if docs.OpenAPI() != string(want) {
		t.Error("openapi.json differs from openapi.yaml and schemas.json: run go test ./docs -update")
	}
}

// bundle changes the references in value so that they point into the same document, and adds
// the schemas that they point to, changed in the same way.
func bundle(t *testing.T, value any, schemas, bundled object) {
	walk(value, "", func(_ string, o object) {
		ref, _ := o["$ref"].(string)
		name, ok := strings.CutPrefix(ref, inFile)
		if !ok {
			name, ok = strings.CutPrefix(ref, "#/$defs/")
		}
		if !ok {
			return
		}
		o["$ref"] = inBundle + name
		schema, known := schemas[name]
		if !known {
			t.Fatalf("schemas.json has no %s", name)
		}
		if bundled[name] == nil {
			bundled[name] = schema
			bundle(t, schema, schemas, bundled)
		}
	})
}

// Every example is valid under its schema.
func TestExamplesAreValid(t *testing.T) {
	c := newCompiler(t, read(t, "schemas.json"))
	for _, file := range []string{"openapi.yaml", "asyncapi.yaml", "admin.yaml"} {
		document := readYAML(t, file)
		if err := c.AddResource(base+file, document); err != nil {
			t.Fatal(err)
		}
		n := 0
		walk(document, "", func(path string, o object) {
			for _, example := range examples(o) {
				n++
				if err := compile(t, c, file+"#"+path+"/schema").Validate(example); err != nil {
					t.Errorf("%s: %s: %v", file, path, err)
				}
			}
		})
		if file == "openapi.yaml" && n < 20 {
			t.Errorf("%s has %d examples with a schema", file, n)
		}
	}
	walk(read(t, "schemas.json"), "", func(path string, o object) {
		all, _ := o["examples"].([]any)
		for _, example := range all {
			if err := compile(t, c, "schemas.json#"+path).Validate(example); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
	})
}

// examples returns the examples of a parameter or a media type.
func examples(o object) (all []any) {
	if _, ok := o["schema"].(object); !ok {
		return nil
	}
	if example, ok := o["example"]; ok {
		all = append(all, example)
	}
	named, _ := o["examples"].(object)
	for _, example := range named {
		all = append(all, example.(object)["value"])
	}
	return all
}

// The machine-readable documentation has the version of the newest entry in the changelog.
func TestVersions(t *testing.T) {
	changelog, err := os.ReadFile("../CHANGELOG.md")
	if err != nil {
		t.Fatal(err)
	}
	_, newest, _ := strings.Cut(string(changelog), "\n## ")
	for _, file := range []string{"openapi.yaml", "asyncapi.yaml", "admin.yaml"} {
		version, _ := readYAML(t, file)["info"].(object)["version"].(string)
		if version == "" || !strings.HasPrefix(newest, version) {
			t.Errorf("%s has version %q, which is not the newest in the changelog", file, version)
		}
	}
}

// asyncapi.yaml names every command and frame, and nothing else.
func TestAsyncAPIHasEveryFrame(t *testing.T) {
	document := readYAML(t, "asyncapi.yaml")
	schemas := read(t, "schemas.json")["$defs"].(object)
	messages := document["components"].(object)["messages"].(object)
	for channel, want := range map[string][]string{"json": {"command", "frame"}, "events": {"event"}} {
		named := make(map[string]bool)
		for _, ref := range document["channels"].(object)[channel].(object)["messages"].(object) {
			name := strings.TrimPrefix(ref.(object)["$ref"].(string), "#/components/messages/")
			payload := messages[name].(object)["payload"].(object)
			named[strings.TrimPrefix(payload["$ref"].(string), inFile)] = true
		}
		n := 0
		for _, union := range want {
			for _, one := range schemas[union].(object)["oneOf"].([]any) {
				n++
				if name := strings.TrimPrefix(one.(object)["$ref"].(string), "#/$defs/"); !named[name] {
					t.Errorf("the channel %s has no %s", channel, name)
				}
			}
		}
		if n != len(named) {
			t.Errorf("the channel %s has %d messages, want the %d of %q", channel, len(named), n, want)
		}
	}
}
