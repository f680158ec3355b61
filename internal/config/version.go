package config

import "runtime/debug"

// Version returns the version of the module that the program was built from:
// a release as v1.2.3, the commit as a pseudo-version, or (devel) when the
// build recorded neither.
func Version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
