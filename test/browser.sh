#!/usr/bin/env bash
# Chromium against the real server: its own EventSource and WebSocket, driven by
# Playwright. CHROMIUM names another browser of the family than the one found.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

CHROMIUM="${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)}"
[ -n "$CHROMIUM" ] || skip "needs Chromium (Debian: chromium)"
node -e 'process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)' 2>/dev/null && command -v npm >/dev/null ||
	skip "needs Node.js 20 with npm (Debian: nodejs npm)"

cp -r test/browser "$work/browser"
(cd "$work/browser" && npm install --silent --no-audit --no-fund --no-package-lock) >"$work/npm.log" 2>&1 || fail "npm" "$work/npm.log"
go build -o "$work/notiflux" ./cmd/notiflux
"$work/notiflux" keys --dir "$work" >/dev/null

export CHROMIUM NOTIFLUX="$work/notiflux" WORK="$work"
node "$work/browser/browser.mjs" 2>"$work/browser.log" || fail "the browser" "$work/browser.log" "$work/server.log"
tokenless "$work/server.log"
