package admin

// What tests look at besides New.
var (
	Guard       = guard
	Routes      = routes
	NewRegistry = newRegistry
)

// Registry is the registry of the metrics.
type Registry = registry
