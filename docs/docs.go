// Package docs embeds the machine-readable documentation that the server serves.
//
// schemas.json has the schemas of all JSON values. asyncapi.yaml and openapi.yaml refer to
// them. openapi.json combines openapi.yaml with the schemas that it needs, so that a client
// has to fetch only one file.
//
// The tests of this package compare the documentation with the code and with the test
// vectors.
package docs

import _ "embed"

//go:embed openapi.json
var openAPI string

// OpenAPI returns the description of the HTTP routes: OpenAPI 3.1, as JSON.
func OpenAPI() string { return openAPI }
