#!/usr/bin/env bash
# The machine-readable documentation against tools that are not ours: @asyncapi/parser reads
# docs/asyncapi.yaml, and schemathesis asks the real server whatever
# docs/openapi.yaml allows and forbids.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
	skip "needs Python 3.11 with its venv module (Debian: python3-venv)"
node -e 'process.exit(parseInt(process.versions.node) >= 18 ? 0 : 1)' 2>/dev/null && command -v npm >/dev/null ||
	skip "needs Node.js 18 with npm (Debian: nodejs npm)"

echo "1. install the tools"
cp -r test/contracts "$work/contracts"
(cd "$work/contracts" && npm install --silent --no-audit --no-fund --no-package-lock) >"$work/npm.log" 2>&1 || fail "npm" "$work/npm.log"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check -r test/contracts/requirements.txt >"$work/pip.log" 2>&1 ||
	fail "pip" "$work/pip.log"

echo "2. docs/asyncapi.yaml"
node "$work/contracts/asyncapi.mjs" docs/asyncapi.yaml 2>"$work/asyncapi.log" || fail "asyncapi.yaml" "$work/asyncapi.log"

echo "3. docs/openapi.yaml, against the server"
go build -o "$work/notiflux" ./cmd/notiflux
"$work/notiflux" keys --dir "$work" >/dev/null
TOKEN="$("$work/notiflux" token --key "$work/es256_private.pem" --topic news --topic sport --pattern 'campaign:*' --scope subscribe --scope broadcast)"
export TOKEN
HOST=127.0.0.1 PORT=0 NOTIFLUX_ADMIN_ADDR="" \
	"$work/notiflux" serve --jwt-public-key-file "$work/es256_public.pem" 2>"$work/server.log" &
started+=($!)
url="$(address "$work/server.log")"
(cd "$work/contracts" && PYTHONPATH=. timeout 300 "$work/venv/bin/schemathesis" run "$url/openapi.json") >"$work/schemathesis.log" 2>&1 ||
	fail "schemathesis" "$work/schemathesis.log"
tail -n 6 "$work/schemathesis.log"

echo "4. the server ends in good order, had no fault, and tells no token"
kill "${started[0]}"
wait "${started[0]}" || fail "its exit status is $?" "$work/server.log"
! grep 'level=ERROR' "$work/server.log" || fail "a fault" "$work/server.log"
tokenless "$work/server.log"
