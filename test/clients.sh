#!/usr/bin/env bash
# Clients that are not ours against the echo program and the real server: the
# npm package ws and the Python package websockets, on both kinds of loop, with
# and without compression, and curl for what goes over HTTP. The server is alone, and then on
# Redis.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
	skip "needs Python 3.11 with its venv module (Debian: python3-venv)"
node -e 'process.exit(parseInt(process.versions.node) >= 18 ? 0 : 1)' 2>/dev/null && command -v npm >/dev/null ||
	skip "needs Node.js 18 with npm (Debian: nodejs npm)"
command -v curl >/dev/null || skip "needs curl"

echo "1. install the clients"
cp -r test/clients "$work/clients"
(cd "$work/clients" && npm install --silent --no-audit --no-fund --no-package-lock) >"$work/npm.log" 2>&1 || fail "npm" "$work/npm.log"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check -r test/clients/requirements.txt >"$work/pip.log" 2>&1 ||
	fail "pip" "$work/pip.log"

go build -o "$work" ./cmd/notiflux ./internal/internaltest/echo
"$work/notiflux" keys --dir "$work" >/dev/null
TOKEN="$("$work/notiflux" token --key "$work/es256_private.pem" --topic clients --scope subscribe --scope broadcast)"
export TOKEN NOTIFLUX_ADMIN_ADDR=""

# clients MODE LOG PATH: runs both clients against the server that writes LOG
# and was started last, then ends it.
clients() {
	local url pid="${started[-1]}"
	url="$(address "$work/$2")"
	node "$work/clients/ws.mjs" "$1" "$url$3" >"$work/ws.log" 2>&1 || fail "ws: $2" "$work/ws.log" "$work/$2"
	"$work/venv/bin/python" "$work/clients/client.py" "$1" "$url" >"$work/python.log" 2>&1 ||
		fail "websockets: $2" "$work/python.log" "$work/$2"
	[ "$1" = echo ] || dialects "$url"
	unset 'started[-1]'
	kill "$pid"
	wait "$pid" || fail "its exit status is $?: $2" "$work/$2"
	tokenless "$work/$2"
}

# dialects URL: curl reads what it missed by each of the dialects of HTTP.
dialects() {
	local position route since
	local ask=(curl --silent --show-error --fail --no-buffer --max-time 60 --header "Authorization: Bearer $TOKEN")
	position="$("${ask[@]}" "$1/history?topic=clients&limit=0" | sed 's/.*"position":"\([^"]*\)".*/\1/')"
	"${ask[@]}" --data '{"topic":"clients","message":"by curl"}' "$1/broadcast" >"$work/broadcast.txt" || fail "curl: /broadcast"
	since="topic=clients&since=$position"
	for route in history poll; do
		"${ask[@]}" "$1/$route?$since" >"$work/$route.txt" || fail "curl: /$route"
		grep -q '"data":"by curl"' "$work/$route.txt" && grep -q '"recovered":true' "$work/$route.txt" ||
			fail "curl: /$route since $position" "$work/$route.txt"
	done
	for route in events stream; do
		: >"$work/$route.txt" # The one of the round before would be read until curl starts.
		"${ask[@]}" "$1/$route?$since" >"$work/$route.txt" 2>"$work/curl.log" &
		started+=($!)
		eventually grep -q '"data":"by curl"' "$work/$route.txt" &&
			grep -qF "{\"position\":\"$position\",\"recovered\":true,\"replay\":1}" "$work/$route.txt" ||
			fail "curl: /$route since $position" "$work/$route.txt" "$work/curl.log"
		kill "${started[-1]}"
		wait "${started[-1]}" || true # It was killed.
		unset 'started[-1]'
	done
}

step=1
for loops in auto portable; do
	for COMPRESSION in 0 1; do
		export COMPRESSION
		step=$((step + 1))
		echo "$step. loops=$loops, compression=$COMPRESSION"
		arguments=()
		[ "$loops" = auto ] || arguments+=(-portable)
		[ "$COMPRESSION" = 0 ] || arguments+=(-compression)
		"$work/echo" -addr 127.0.0.1:0 ${arguments[@]+"${arguments[@]}"} 2>"$work/echo-$loops-$COMPRESSION.log" &
		started+=($!)
		clients echo "echo-$loops-$COMPRESSION.log" ""
		HOST=127.0.0.1 PORT=0 NOTIFLUX_LOOPS=$loops NOTIFLUX_COMPRESSION=$COMPRESSION \
			"$work/notiflux" serve --jwt-public-key-file "$work/es256_public.pem" 2>"$work/server-$loops-$COMPRESSION.log" &
		started+=($!)
		clients server "server-$loops-$COMPRESSION.log" /ws
	done
done
if has_redis; then
	echo "$((step + 1)). on Redis"
	start_redis
	HOST=127.0.0.1 PORT=0 NOTIFLUX_COMPRESSION=1 NOTIFLUX_BROKER="$redis_url" \
		"$work/notiflux" serve --jwt-public-key-file "$work/es256_public.pem" 2>"$work/server-redis.log" &
	started+=($!)
	COMPRESSION=1 clients server server-redis.log /ws
fi
