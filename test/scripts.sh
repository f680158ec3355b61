#!/usr/bin/env bash
# Runs the lines of scripts/README.md as they stand there, against the real
# server, and compares what the subscriber printed. Two things are replaced: the
# port, by a free one, and `go run`, by the binary that it would build.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
	skip "needs Python 3.11 with its venv module (Debian: python3-venv)"
for tool in openssl curl; do
	command -v $tool >/dev/null || skip "needs $tool"
done

go build -o "$work/notiflux" ./cmd/notiflux
cp -r scripts "$work/scripts"
rm -rf "$work"/scripts/{.venv,*.pem}
readme="$PWD/scripts/README.md"
cd "$work"

# block N: the lines of the N-th code block of the README.
block() {
	awk -v want="$1" '/^```/ { inside = $0 == "```sh"; n += inside; next } inside && n == want' "$readme" |
		sed -e "s|go run ../cmd/notiflux|exec $work/notiflux|" \
			-e "s|http://127.0.0.1:8080|${NOTIFLUX_URL:-}|" -e 's|^\(.*subscribe\.py\)|exec \1|'
}

# paste FOLDER N: becomes the shell of a person who pastes block N there.
paste() {
	block "$2" >"block$2.sh"
	cd "$1"
	exec bash -e "$work/block$2.sh"
}

# same NAME WANT FILE: FILE holds the text WANT, no more and no less.
same() {
	diff -u <(printf '%s' "$2") "$3" || fail "$1"
}

received() {
	[ "$(wc -l <received.txt)" -ge "$1" ]
}

echo "1. a virtual environment and a key pair"
(paste . 1)
(paste scripts 2) 2>openssl.log || fail "openssl" openssl.log

echo "2. server and subscriber"
(export PORT=0 && paste scripts 3) 2>server.log &
started+=($!)
NOTIFLUX_URL="$(address server.log)"
export NOTIFLUX_URL
(paste . 4) >received.txt 2>subscriber.log &
started+=($!)

# Subscribing is silent in the text protocol: the first message that arrives
# tells that the subscriber is there.
python=scripts/.venv/bin/python
sign() { $python scripts/sign.py --key scripts/es256_private.pem "$@"; }
news="$(sign --scope broadcast --topic news)"
probe() {
	$python scripts/broadcast.py news probe --token "$news" >position.txt
	received 1
}
eventually probe || fail "nothing is received" server.log subscriber.log
probes="$(wc -l <received.txt)"

echo "3. broadcast by Python and by curl"
(paste . 5) >answers.txt 2>broadcast.log || fail "broadcast" broadcast.log
odd='Straße 東京 🎉  "quoted" \ end'
$python scripts/broadcast.py news "$odd" --token "$news" >>answers.txt
eventually received $((probes + 3)) || fail "messages are missing" received.txt
grep -v '^probe$' received.txt >messages.txt
same "the received messages" "Hello, world
Hello, curl
$odd
" messages.txt
grep -q '"position"' answers.txt || fail "curl got no position" answers.txt

# refused WANT COMMAND...: it fails with status 1, and WANT on standard error.
refused() {
	local want="$1" status=0
	shift
	"$@" >out.txt 2>err.txt || status=$?
	if [ "$status" -ne 1 ] || [ -s out.txt ] || ! grep -q "$want" err.txt; then
		fail "status $status from: ${*:1:3}; want 1 and: $want" err.txt
	fi
	tokenless err.txt
}

echo "4. refusals"
listener="$(sign --scope subscribe --topic news)"
refused scope_denied $python scripts/broadcast.py news x --token "$listener"
refused topic_denied $python scripts/broadcast.py sport x --token "$news"
refused 'Subscribe to news denied' $python scripts/subscribe.py news --token "$news"
refused 'Subscribe to sport denied' $python scripts/subscribe.py news sport --token "$listener"
refused 'not an unencrypted P-256 private key' $python scripts/sign.py --key scripts/es256_public.pem --scope subscribe --topic news

echo "5. the server ends in good order and tells no token"
server="${started[0]}"
kill "$server"
wait "$server" || fail "the server's exit status is $?" server.log
tokenless server.log subscriber.log
