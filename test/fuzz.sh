#!/usr/bin/env bash
# Runs every fuzz target of the module, one after the other, each for the time
# given (default 10s).

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

time="${1:-10s}"

fuzz() { go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 5s "$package" >"$work/fuzz.log" 2>&1; }

# cut_short: no input failed, but the time was over while a worker was busy, which the go
# command calls a failure. Then the target runs again, up to twice.
cut_short() { grep -q 'context deadline exceeded' "$work/fuzz.log" && ! grep -q 'Failing input written' "$work/fuzz.log"; }

targets=0
for package in $(go list ./...); do
	for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
		echo "${package##*/}.$target"
		tries=3
		until fuzz; do
			tries=$((tries - 1))
			[ "$tries" -gt 0 ] && cut_short || fail "$target failed" "$work/fuzz.log"
		done
		targets=$((targets + 1))
	done
done
[ "$targets" -gt 0 ] || fail "there is no fuzz target"
