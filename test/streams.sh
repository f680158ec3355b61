#!/usr/bin/env bash
# Clients of event streams that are not ours, in Chromium, Node.js and Python, against
# the real server: each through cuts and a restart, alone and through nginx with the settings of
# docs/operations.md, and on Redis. CHROMIUM names another browser of the family than the one
# found.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

CHROMIUM="${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)}"
[ -n "$CHROMIUM" ] || skip "needs Chromium (Debian: chromium)"
NGINX_PROGRAM="$(PATH="$PATH:/usr/sbin" command -v nginx || true)"
[ -n "$NGINX_PROGRAM" ] || skip "needs nginx (Debian: nginx)"
node -e 'process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)' 2>/dev/null && command -v npm >/dev/null ||
	skip "needs Node.js 20 with npm (Debian: nodejs npm)"
python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
	skip "needs Python 3.11 with its venv module (Debian: python3-venv)"

cp -r test/browser test/streams "$work"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q -r test/streams/requirements.txt >"$work/pip.log" 2>&1 || fail "pip" "$work/pip.log"
(cd "$work/streams" && npm install --silent --no-audit --no-fund --no-package-lock) >"$work/npm.log" 2>&1 || fail "npm" "$work/npm.log"
go build -o "$work/notiflux" ./cmd/notiflux
"$work/notiflux" keys --dir "$work" >/dev/null
sed -n '/^```nginx$/,/^```$/p' docs/operations.md | grep -v '^```' >"$work/settings"
grep -q proxy_pass "$work/settings" || fail "docs/operations.md has no settings for nginx"

export CHROMIUM NGINX_PROGRAM NOTIFLUX="$work/notiflux" WORK="$work" PYTHON="$work/venv/bin/python" SETTINGS="$work/settings"
touch "$work/nginx.log"
streams() {
	node "$work/streams/streams.mjs" 2>"$work/streams.log" ||
		fail "event streams" "$work/streams.log" "$work/nginx.log" "$work/server.log"
	tokenless "$work/server.log" "$work/nginx.log"
}
streams
if has_redis; then
	echo "on Redis"
	start_redis
	NOTIFLUX_BROKER="$redis_url" streams
fi
