package docs_test

import (
	"bytes"
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"
)

// An object is a JSON object.
type object = map[string]any

// read returns a file of this folder as a JSON value.
func read(t *testing.T, name string) object {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, string(text)).(object)
}

// readYAML returns a YAML file of this folder as a JSON value.
func readYAML(t *testing.T, name string) object {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var document object
	if err := yaml.Unmarshal(text, &document); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return decode(t, string(encode(t, document))).(object)
}

func decode(t *testing.T, text string) any {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return value
}

func encode(t *testing.T, value any) []byte {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(value); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// base is the prefix that makes a URL of a file name. The tests fetch nothing from it.
const base = "https://notiflux.invalid/"

// newCompiler returns a compiler that knows schemas.json.
func newCompiler(t *testing.T, schemas object) *jsonschema.Compiler {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.UseLoader(jsonschema.SchemeURLLoader{})
	if err := c.AddResource(base+"schemas.json", schemas); err != nil {
		t.Fatal(err)
	}
	return c
}

// compile returns the schema at a place, a file that c knows and a JSON pointer in it.
func compile(t *testing.T, c *jsonschema.Compiler, place string) *jsonschema.Schema {
	t.Helper()
	s, err := c.Compile(base + place)
	if err != nil {
		t.Fatalf("%s: %v", place, err)
	}
	return s
}

func definition(t *testing.T, c *jsonschema.Compiler, name string) *jsonschema.Schema {
	t.Helper()
	return compile(t, c, "schemas.json#/$defs/"+name)
}

// closing changes schemas so that they refuse members that they do not name.
func closing(schemas object) object {
	definitions := schemas["$defs"].(object)
	closed := make(object)
	for name, schema := range definitions {
		walk(schema, "", func(_ string, o object) {
			properties, _ := o["properties"].(object)
			for _, value := range properties {
				closeObject(value)
			}
			closeObject(o["items"])
			closeObject(o["additionalProperties"])
		})
		// The name refers to the closed schema. Schemas that extend it must refer to the open one.
		closed["open-"+name] = schema
		closed[name] = object{"$ref": "#/$defs/open-" + name, "unevaluatedProperties": false}
	}
	for _, schema := range definitions {
		walk(schema, "", func(_ string, o object) {
			if ref, ok := o["$ref"].(string); ok {
				o["$ref"] = strings.Replace(ref, "#/$defs/", "#/$defs/open-", 1)
			}
		})
	}
	schemas["$defs"] = closed
	return schemas
}

// closeObject closes schema if it describes members.
func closeObject(schema any) {
	o, ok := schema.(object)
	if !ok {
		return
	}
	for _, keyword := range []string{"properties", "$ref", "allOf", "oneOf"} {
		if o[keyword] != nil {
			o["unevaluatedProperties"] = false
			return
		}
	}
}

// pointer escapes a name for a JSON pointer in a URL fragment (RFC 6901).
var pointer = strings.NewReplacer("~", "~0", "/", "~1", "%", "%25")

// walk calls visit for each object in value, with its JSON pointer.
func walk(value any, path string, visit func(string, object)) {
	switch v := value.(type) {
	case object:
		visit(path, v)
		for name, inner := range v {
			walk(inner, path+"/"+pointer.Replace(name), visit)
		}
	case []any:
		for i, inner := range v {
			walk(inner, path+"/"+strconv.Itoa(i), visit)
		}
	}
}
