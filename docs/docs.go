// Package docs holds what this folder has for machines, as far as the server
// itself gives it out; its tests hold all of it to the code and to the vectors.
//
// The schemas of every JSON value are in schemas.json. asyncapi.yaml and
// openapi.yaml refer to them; openapi.json is openapi.yaml and the schemas that it
// needs in one file, so that whoever fetches it needs no other.
package docs

import _ "embed"

//go:embed openapi.json
var openAPI string

// OpenAPI returns the description of the HTTP routes: OpenAPI 3.1, as JSON.
func OpenAPI() string { return openAPI }
