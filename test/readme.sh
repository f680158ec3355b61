#!/usr/bin/env bash
# Runs the commands of README.md as they stand there. Four things are replaced: the port, by
# a free one; `git clone`, by a copy of this checkout; `go run`, by the binary that it
# would build; and `docker run`, by the binary that the image holds (test/image.sh
# builds the image and runs it).

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

command -v curl >/dev/null || skip "needs curl"

go build -o "$work/notiflux-built" ./cmd/notiflux
readme="$PWD/README.md"
checkout="$work/notiflux"
mkdir "$checkout"
cp -r go.mod go.sum cmd client internal docs "$checkout"
cd "$work"
export NOTIFLUX_ADMIN_ADDR=""
url=http://127.0.0.1:8080

# block N: the lines of the N-th code block of the README.
block() {
	awk -v want="$1" '/^```/ { inside = $0 == "```sh"; n += inside; next } inside && n == want' "$readme" |
		sed -e "s|^git clone [^ ]* && ||" -e "s|go run ./cmd/notiflux|$work/notiflux-built|" -e "s|http://127\.0\.0\.1:8080|$url|" \
			-e "s#^\($work/notiflux-built dev\|./notiflux serve\|curl -N\)#exec \1#" \
			-e "s|^docker run .* -e \(JWT_.*\) ghcr.io/[^ ]*$|export \1; exec ./notiflux serve|"
}

# paste FOLDER N: becomes the shell of a person who pastes block N there.
paste() {
	block "$2" >"block$2.sh"
	cd "$1"
	exec bash -e "$work/block$2.sh"
}

echo "1. try it"
PORT=0 paste . 1 >dev.log 2>&1 &
started+=($!)
eventually grep -qs 'serves on' dev.log || fail "the server does not listen" dev.log
url="$(sed -n 's/.*serves on \([^ ]*\) .*/\1/p' dev.log)"
paste "$checkout" 2 >events.txt 2>subscriber.log &
started+=($!)
eventually grep -qs '^event: hello' events.txt || fail "no subscription" subscriber.log dev.log
(paste "$checkout" 3) >answer.txt 2>publisher.log || fail "nothing is published" publisher.log dev.log
grep -q '^{"topic":"news","position":' answer.txt || fail "the publisher got no position" answer.txt
eventually grep -q '"data":"hello"' events.txt || fail "the message does not arrive" events.txt

echo "2. with keys of your own"
PORT=0 paste "$checkout" 4 >keys.txt 2>serve.log &
started+=($!)
"$work/notiflux-built" health --url "$(address serve.log)" || fail "the server is not healthy" serve.log

echo "3. the container's command"
PORT=0 paste "$checkout" 5 >container.txt 2>container.log &
started+=($!)
"$work/notiflux-built" health --url "$(address container.log)" || fail "the server is not healthy" container.log
[ -z "$(block 6)" ] || fail "the README has commands that this suite does not run"
[ "$(wc -l <"$readme")" -le 120 ] || fail "the README has more than 120 lines"

tokenless subscriber.log publisher.log serve.log container.log
