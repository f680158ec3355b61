package servertest

import "flag"

// Seeds returns the seeds that a test runs with: the value of the flag -seed if the
// command has it, else otherwise. A value alone does not tell, because other tests set the
// flag where none was given.
func Seeds(value *uint64, otherwise ...uint64) []uint64 {
	flag.Visit(func(f *flag.Flag) {
		if f.Name == "seed" {
			otherwise = []uint64{*value}
		}
	})
	return otherwise
}
