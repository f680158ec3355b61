#!/usr/bin/env bash
# Runs every suite that can run here and ends with a list of what ran, what did
# not, and how to get it. REQUIRE_ALL=1 runs the long ones too, and what cannot
# run then counts as failed.

set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

passed=0 failed=0 skipped=0 summary=""
output="$(mktemp)"
beside="$(mktemp -d)" # what suites that run beside others print, and their exit statuses
trap 'rm -rf "$output" "$beside"' EXIT

# note RESULT NAME REMARK: adds a line to the summary.
note() {
	summary+="$(printf '%-8s %-12s %s' "$1" "$2" "$3")"$'\n'
}

# missing NAME HOW: a suite that does not run.
missing() {
	if [ "${REQUIRE_ALL:-}" = 1 ]; then
		failed=$((failed + 1))
		note FAILED "$1" "$2"
	else
		skipped=$((skipped + 1))
		note skipped "$1" "$2"
	fi
}

# suite NAME COMMAND...: runs it; exit status 77 says that it cannot run here,
# and the last line of its output says why.
suite() {
	local name="$1" status
	shift
	printf '\n== %s\n' "$name"
	SECONDS=0
	"$@" 2>&1 | tee "$output"
	status=${PIPESTATUS[0]}
	case $status in
	0) passed=$((passed + 1)) && note passed "$name" "${SECONDS} s" ;;
	77) missing "$name" "$(tail -n 1 "$output")" ;;
	*) failed=$((failed + 1)) && note FAILED "$name" "${SECONDS} s, exit status $status" ;;
	esac
}

# start NAME COMMAND...: begins a suite that mostly waits, so that it runs beside others.
start() {
	local name="$1"
	shift
	{
		"$@" >"$beside/$name" 2>&1
		echo $? >"$beside/$name.status"
	} &
}

# finish NAME: waits until a suite that was started has ended, and prints what it printed.
finish() {
	until [ -s "$beside/$1.status" ]; do sleep 1; done
	cat "$beside/$1"
	return "$(cat "$beside/$1.status")"
}

formatted() {
	local files
	files="$(gofmt -l .)" || return
	[ -z "$files" ] || { printf 'gofmt would change:\n%s\n' "$files" && return 1; }
}

# cross: what is released or meant to work elsewhere compiles.
cross() {
	local target
	for target in linux/arm64 darwin/arm64 windows/amd64; do
		echo "$target"
		CGO_ENABLED=0 GOOS="${target%/*}" GOARCH="${target#*/}" go build ./... || return
	done
}

suite format formatted
suite vet go vet ./...
suite staticcheck go tool staticcheck ./...
suite cross cross
if [ "$(go env CGO_ENABLED)" = 1 ]; then
	suite go go test -race -shuffle=on -timeout 20m ./internal/server ./... # the longest first
else
	suite go go test -shuffle=on ./...
	missing race "the tests ran without the race detector, which needs a C compiler such as gcc"
fi
start sdk-python test/sdk-python.sh
# The same on brokers whose store is elsewhere: internal/internaltest/servertest.
on=(go test -shuffle=on ./internal/server ./client ./internal/bench)
if command -v redis-server >/dev/null; then
	start redis env NOTIFLUX_TEST_BROKER=redis "${on[@]}"
	suite remote env NOTIFLUX_TEST_BROKER=remote "${on[@]}"
	suite redis finish redis
else
	suite remote env NOTIFLUX_TEST_BROKER=remote "${on[@]}"
	missing redis "needs redis-server (Debian: redis-server)"
fi
suite sdk-python finish sdk-python
if [ "${REQUIRE_ALL:-}" = 1 ]; then
	suite fuzz test/fuzz.sh 10s
else
	missing fuzz "takes minutes: make fuzz, or REQUIRE_ALL=1 make test"
fi
start start test/start.sh
start streams test/streams.sh
suite readme test/readme.sh
suite scripts test/scripts.sh
suite examples test/examples.sh
suite deploy test/deploy.sh
suite clients test/clients.sh
suite browser test/browser.sh
suite contracts test/contracts.sh
suite image test/image.sh
suite start finish start
suite streams finish streams
suite sdk-js test/sdk-js.sh

printf '\n%s\n%s passed, %s failed, %s skipped\n' "$summary" "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ]
