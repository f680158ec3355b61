package docs_test

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/ikornaselur/notiflux/internal/adminapi"
	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/control"
	"github.com/ikornaselur/notiflux/internal/revoke"
)

// The admin API answers every request in admin.yaml as the file says, and has no other routes.
func TestAdminAPI(t *testing.T) {
	document := readYAML(t, "admin.yaml")
	c := newCompiler(t, read(t, "schemas.json"))
	if err := c.AddResource(base+"admin.yaml", document); err != nil {
		t.Fatal(err)
	}
	handler := adminapi.New(adminapi.Config{Revocations: revoke.New(revoke.Config{}), Control: control.New(nil, nil), Verifier: auth.New(auth.Config{})})
	for path, item := range document["paths"].(object) {
		request := httptest.NewRequest("DELETE", path, nil)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, request)
		methods := w.Header().Get("Allow")
		for method, operation := range item.(object) {
			methods = strings.Replace(methods, strings.ToUpper(method), "", 1)
			bodies := []any{nil}
			if body, ok := operation.(object)["requestBody"].(object); ok {
				bodies = examples(body["content"].(object)["application/json"].(object))
			}
			if len(bodies) == 0 {
				t.Errorf("%s %s has no example", method, path)
			}
			for _, body := range bodies {
				text, err := json.Marshal(body)
				if err != nil {
					t.Fatal(err)
				}
				text = bytes.ReplaceAll(text, []byte(`"2026-`), []byte(`"2096-`)) // not in the past
				request := httptest.NewRequest(strings.ToUpper(method), path, bytes.NewReader(text))
				request.Header.Set("Content-Type", "application/json")
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, request)
				where := "admin.yaml#/paths/" + strings.ReplaceAll(path, "/", "~1") + "/" + method + "/responses/200"
				if response := operation.(object)["responses"].(object)["200"].(object); response["$ref"] != nil {
					where = "admin.yaml" + response["$ref"].(string)
				}
				answer, err := jsonschema.UnmarshalJSON(w.Body)
				if err != nil || w.Code != 200 {
					t.Errorf("%s %s %s = %d %v", method, path, text, w.Code, answer)
					continue
				}
				if err := compile(t, c, where+"/content/application~1json/schema").Validate(answer); err != nil {
					t.Errorf("%s %s %s is answered with %v: %v", method, path, text, answer, err)
				}
			}
		}
		if methods = strings.Trim(methods, ", "); methods != "OPTIONS" {
			t.Errorf("%s: the server also has %s", path, methods)
		}
	}
	if n := len(document["paths"].(object)); n != 5 {
		t.Errorf("admin.yaml has %d paths, want 5", n)
	}
}
