# shellcheck shell=bash
# Shared by the suites in this folder, which are bash and source it first.
# A suite ends with 0 for success, 77 when it cannot run here, else a failure.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

work="$(mktemp -d)"
started=() # process ids to end with the suite

cleanup() {
	local pid
	for pid in ${started[@]+"${started[@]}"}; do
		if kill "$pid" 2>/dev/null; then wait "$pid" 2>/dev/null || true; fi
	done
	rm -rf "$work"
}
trap cleanup EXIT

# skip REASON: the suite cannot run here. The reason says how to get there.
skip() {
	echo "$*"
	exit 77
}

# fail WHAT [FILE...]: shows the files, which say why.
fail() {
	echo "FAIL: $1" >&2
	shift
	local file
	for file in "$@"; do
		sed "s|^|    ${file##*/}: |" "$file" >&2
	done
	exit 1
}

# eventually COMMAND...: waits up to 30 s until it succeeds.
eventually() {
	local tries=300
	until "$@"; do
		tries=$((tries - 1))
		[ "$tries" -gt 0 ] || return 1
		sleep 0.1
	done
}

# address LOG: waits until the server that writes LOG listens, and prints its URL.
address() {
	eventually grep -qs 'msg=listening' "$1" || fail "the server does not listen" "$1"
	sed -n 's/.*msg=listening .*\burl=\([^ ]*\).*/\1/p' "$1" | head -n 1
}

# has_redis: whether suites can run on Redis. If they must and cannot, it fails.
has_redis() {
	command -v redis-server >/dev/null && return
	[ "${REQUIRE_ALL:-}" != 1 ] || fail "needs redis-server (Debian: redis-server)"
	return 1
}

# start_redis: starts a Redis that ends with the suite, and sets redis_url.
start_redis() {
	local port
	port="$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')"
	redis-server --bind 127.0.0.1 --port "$port" --save "" --dir "$work" >"$work/redis.log" 2>&1 &
	started+=($!)
	eventually redis-cli -p "$port" ping >/dev/null 2>&1 || fail "Redis does not start" "$work/redis.log"
	# shellcheck disable=SC2034 # suites use it
	redis_url="redis://127.0.0.1:$port"
}

# tokenless FILE...: fails if one of the files holds what looks like a token.
tokenless() {
	! grep -n 'eyJ' "$@" || fail "a token in a log"
}
