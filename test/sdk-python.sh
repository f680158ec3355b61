#!/usr/bin/env bash
# The Python SDK: checks sdk/python and its types, runs its tests, with the real server where
# they need one, and builds the wheel and uses it in an empty project.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
	skip "needs Python 3.10 with its venv module (Debian: python3-venv)"
command -v openssl >/dev/null || skip "needs openssl"

# install VENV WHAT...: makes an environment and installs into it.
install() {
	local venv="$1"
	shift
	python3 -m venv "$venv"
	"$venv/bin/pip" install --quiet --disable-pip-version-check "$@" >"$work/pip.log" 2>&1 || fail "pip" "$work/pip.log"
}

mkdir "$work/sdk"
tar --exclude='.*' --exclude=__pycache__ --exclude='*.egg-info' --exclude=dist -C sdk -cf - python | tar -C "$work/sdk" -xf -
go build -o "$work/notiflux" ./cmd/notiflux
export NOTIFLUX="$work/notiflux" VECTORS="$PWD/internal/wire/testdata" PYTHONDONTWRITEBYTECODE=1

cd "$work/sdk/python"
bin="$work/venv/bin"
echo "1. format, types, tests"
install "$work/venv" -r requirements-dev.txt
"$bin/ruff" format --quiet --check . || fail "ruff would change the format: ruff format"
"$bin/ruff" check --quiet .
"$bin/mypy"
"$bin/pytest" -p no:cacheprovider

echo "2. the wheel, in an empty project"
"$bin/python" -m build --no-isolation --outdir "$work/dist" . >"$work/build.log" 2>&1 || fail "build" "$work/build.log"
"$bin/python" tests/wheel/contents.py "$work/dist"
mkdir "$work/empty"
cp tests/wheel/program.py "$work/empty"
cd "$work/empty"
install "$work/empty/venv" "$(echo "$work"/dist/*.whl)[sign]"
"$bin/mypy" --strict --python-executable venv/bin/python --cache-dir "$work/mypy" program.py
"$work/notiflux" keys --dir . >/dev/null
NOTIFLUX_ADMIN_ADDR="" PORT=0 "$work/notiflux" serve --jwt-public-key-file es256_public.pem 2>"$work/server.log" &
started+=($!)
venv/bin/python -W error program.py "$(address "$work/server.log")" es256_private.pem
tokenless "$work/server.log"
