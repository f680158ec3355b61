package config

import "runtime/debug"

// version is set by the linker if the build has no repository (see Dockerfile); otherwise it
// is empty.
var version string

// Version returns the version that the program was built from: the linker's, or the
// module's (v1.2.3 for a release, a pseudo-version for a commit), or (devel) if the build
// recorded neither.
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
