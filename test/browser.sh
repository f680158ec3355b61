#!/usr/bin/env bash
# Chromium against the real server: its own EventSource and WebSocket, and the pages
# of examples/, driven by Playwright. CHROMIUM names another browser of the family
# than the one found.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

CHROMIUM="${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)}"
[ -n "$CHROMIUM" ] || skip "needs Chromium (Debian: chromium)"
node -e 'process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)' 2>/dev/null && command -v npm >/dev/null ||
	skip "needs Node.js 20 with npm (Debian: nodejs npm)"
python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
	skip "needs Python 3.11 with its venv module (Debian: python3-venv)"

cp -r test/browser examples "$work"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q -r scripts/requirements.txt >"$work/pip.log" 2>&1 || fail "pip" "$work/pip.log"
(cd "$work/browser" && npm install --silent --no-audit --no-fund --no-package-lock) >"$work/npm.log" 2>&1 || fail "npm" "$work/npm.log"
go build -o "$work/notiflux" ./cmd/notiflux
"$work/notiflux" keys --dir "$work" >/dev/null

export CHROMIUM NOTIFLUX="$work/notiflux" WORK="$work" EXAMPLES="$work/examples" PYTHON="$work/venv/bin/python"
node "$work/browser/browser.mjs" 2>"$work/browser.log" || fail "the browser" "$work/browser.log" "$work/server.log"
tokenless "$work/server.log"
