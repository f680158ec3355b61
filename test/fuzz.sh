#!/usr/bin/env bash
# Runs every fuzz target of the module, one after the other, each for the time
# given (default 10s).

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

targets=0
for package in $(go list ./...); do
	for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
		echo "${package##*/}.$target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "${1:-10s}" -fuzzminimizetime 5s "$package" >"$work/fuzz.log" 2>&1 ||
			fail "$target found an input" "$work/fuzz.log"
		targets=$((targets + 1))
	done
done
[ "$targets" -gt 0 ] || fail "there is no fuzz target"
