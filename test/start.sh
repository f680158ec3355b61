#!/usr/bin/env bash
# Follows docs/getting-started.md with each of its back ends, and docs/quick-start.md with
# each of its pages: runs the commands as they stand there, saves the files, and opens the
# page in Chromium, the former alone and behind nginx.
# Some things are replaced: ports, by free ones; `git clone`, by a copy of this checkout,
# where the Go client comes from as well; in the second guide, the build, by the program that
# the first one built; and, where Packagist cannot be reached, firebase/php-jwt, by a stand-in.
# CHROMIUM names another browser of the family than the one found.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

CHROMIUM="${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)}"
[ -n "$CHROMIUM" ] || skip "needs Chromium (Debian: chromium)"
node -e 'process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)' 2>/dev/null && command -v npm >/dev/null ||
	skip "needs Node.js 20 with npm (Debian: nodejs npm)"

# without NAME WHAT: a part of the guide that cannot be followed here.
without=""
without() {
	[ "${REQUIRE_ALL:-}" != 1 ] || fail "$1 needs $2"
	echo "skipped: $1 needs $2"
	without+=" $1"
}
python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
	without Python "Python 3.11 with its venv module (Debian: python3-venv)"
php -r 'exit(PHP_VERSION_ID >= 80100 ? 0 : 1);' 2>/dev/null && command -v composer >/dev/null ||
	without PHP "PHP 8.1 and Composer (Debian: php-cli composer)"
node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)' ||
	without quick-start "Node.js 20.19"
PATH="$PATH:/usr/sbin" command -v nginx >/dev/null || without nginx "nginx (Debian: nginx)"

mkdir "$work/source"
cp -r go.mod go.sum cmd client internal docs "$work/source"
tar --exclude=node_modules --exclude=dist --exclude=build --exclude=__pycache__ -cf - sdk | tar -C "$work/source" -xf -
cp -r test/browser test/start "$work"
cp test/browser/package.json "$work"
(cd "$work" && npm install --silent --no-audit --no-fund --no-package-lock) >"$work/npm.log" 2>&1 || fail "npm" "$work/npm.log"

export CHROMIUM WORK="$work" GUIDE="$PWD/docs/getting-started.md" WITHOUT="$without" PATH="$PATH:/usr/sbin"
touch "$work/guide.log"
node "$work/start/start.mjs" 2>"$work/start.log" || fail "getting started" "$work/start.log" "$work/guide.log"

[[ "$without " != *" Python "* && "$without " != *" quick-start "* ]] || exit 0
echo "the quick start"
export GUIDE="$PWD/docs/quick-start.md" PROGRAM="$work/notes/notiflux"
echo >"$work/guide.log"
node "$work/start/quick.mjs" 2>"$work/start.log" || fail "quick start" "$work/start.log" "$work/guide.log"
