#!/usr/bin/env bash
# The JavaScript SDK: builds sdk/js from its lock file and runs its tests, with the real
# server where they need one.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)' 2>/dev/null &&
	command -v npm >/dev/null || skip "needs Node.js 20.19 with npm (Debian: nodejs npm)"
command -v openssl >/dev/null || skip "needs openssl"
CHROMIUM="${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)}"
[ -n "$CHROMIUM" ] || skip "needs Chromium (Debian: chromium)"

mkdir "$work/sdk"
tar --exclude=node_modules --exclude=dist --exclude=build -C sdk -cf - js | tar -C "$work/sdk" -xf -
go build -o "$work/notiflux" ./cmd/notiflux
export CHROMIUM NOTIFLUX="$work/notiflux" VECTORS="$PWD/internal/wire/testdata"

cd "$work/sdk/js"
npm ci --silent --no-audit --no-fund >"$work/npm.log" 2>&1 || fail "npm" "$work/npm.log"
npm run --silent build
npm run --silent test
npm run --silent size
