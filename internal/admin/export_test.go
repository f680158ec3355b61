package admin

// What tests use in addition to New.
var (
	Guard       = guard
	Routes      = routes
	NewRegistry = newRegistry
)

// Registry is the registry of the metrics.
type Registry = registry
