package config

import "runtime/debug"

// version is set by the linker where the build has no repository to look at
// (see Dockerfile); empty otherwise.
var version string

// Version returns the version that the program was built from: what the linker
// was told, else that of the module (a release as v1.2.3, the commit as a
// pseudo-version), or (devel) when the build recorded neither.
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
