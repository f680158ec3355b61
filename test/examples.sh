#!/usr/bin/env bash
# Runs the commands of docs/guides and the session of docs/protocol.md as they stand
# there, against the real server. (test/browser.sh tests the pages in a browser.) Two
# things are replaced: ports, by free ones, and `go run`, by the binary that it would
# build.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
	skip "needs Python 3.11 with its venv module (Debian: python3-venv)"
command -v curl >/dev/null || skip "needs curl"

go build -o "$work/notiflux" ./cmd/notiflux
git init -q "$work/checkout"
cp .gitignore "$work/checkout"
cp -r examples scripts docs test/examples/*.py "$work"
cd "$work"

guide=docs/guides/first-page.md

# block N: the lines of the N-th code block of the guide.
block() {
	awk -v want="$1" '/^```/ { inside = $0 == "```sh"; n += inside; next } inside && n == want' "$guide" |
		sed -e "s|go run ./cmd/notiflux|exec $work/notiflux|" -e 's|^\(.*app\.py.*\)|exec \1 --port 0|' \
			-e 's#^\(curl -N.*\|.*relay\.py\)$#exec \1#' -e 's|^python3 \(.*http\.server\) 8000|exec python3 -u \1 0|' -e "s|http://127\.0\.0\.1:8080|${NOTIFLUX_URL:-}|"
}

# paste N: runs block N as a reader who pastes it does. It replaces this shell.
paste() {
	block "$1" >"block$1.sh"
	exec bash -e "block$1.sh"
}

# get FILE: loads the page, and sets url, since and token from it.
get() {
	curl -sf "$page" >"$1" || fail "no page" app.log
	start="$(.venv/bin/python - "$1" <<-'PYTHON'
		import html, json, re, sys
		start = json.loads(html.unescape(re.search('data-start="([^"]*)"', open(sys.argv[1]).read())[1]))
		print(start["url"], start["since"], start["token"])
	PYTHON
	)"
	read -r url since token <<<"$start"
}

# subscribe FILE SINCE: reads 2 s of the stream that the page's script opens.
subscribe() {
	curl -sN -m 2 -G "$url/events" --data-urlencode topic=notes --data-urlencode "since=$2" --data-urlencode "token=$token" >"$1" || true
}

# add TEXT: adds a note, as the page's form does.
add() {
	curl -sf -o /dev/null "$page/notes" --data-urlencode "text=$1" || fail "the note $1" app.log
}

# holds FILE TEXT WHAT: fails with WHAT unless a line of FILE contains TEXT.
holds() { grep -qF -- "$2" "$1" || fail "$3" "$1" app.log; }

# lacks FILE TEXT WHAT: fails with WHAT if a line of FILE contains TEXT.
lacks() { ! grep -qF -- "$2" "$1" || fail "$3" "$1"; }

# dev LOG: runs the server of the guide, on a free port if 8080 is taken. It replaces this shell.
dev() {
	export NOTIFLUX_ADMIN_ADDR=""
	paste 1 >"$1" 2>&1
}

# served LOG: waits until the server that writes LOG listens, and prints its URL.
served() {
	eventually grep -qs 'serves on' "$1" || fail "the server does not listen" "$1"
	sed -n 's/.*serves on \([^ ]*\) .*/\1/p' "$1"
}

echo "1. the server and the application of the guide"
dev dev.log &
started+=($!)
NOTIFLUX_URL="$(served dev.log)"
export NOTIFLUX_URL
(paste 2) >pip.log 2>&1 || fail "pip" pip.log
(paste 3) >app.url 2>app.log &
started+=($!)
eventually grep -qs '^http' app.url || fail "the application does not listen" app.log
page="$(cat app.url)"

echo "2. a note added between page and subscription arrives"
add 'before the page'
get first.html
add '<b>after</b> "the" page'
holds first.html '>before the page</li>' "the page lacks its state"
lacks first.html 'after' "the page has a note that was added after it"
subscribe first.txt "$since"
holds first.txt '"recovered":true,"replay":1}' "the subscription misses messages"
holds first.txt '"data":{"id":2,"text":"<b>after</b> \"the\" page"}' "the note added in between is missing"
lacks first.txt 'before the page' "the subscription repeats a note of the page"

echo "3. the position of a published message works as well"
sign() { "$work/notiflux" token --key keys/es256_private.pem --scope broadcast --topic notes; }
position="$(curl -sf "$url/broadcast" -H "Authorization: Bearer $(sign)" -d '{"topic":"notes","message":{"id":3,"text":"three"}}' |
	sed 's/.*"position":"\([^"]*\)".*/\1/')"
add 'after the broadcast'
subscribe second.txt "$position"
holds second.txt '"recovered":true,"replay":1}' "the subscription misses messages"
holds second.txt 'after the broadcast' "the note is missing"

echo "4. a page escapes notes, and learns that messages are missing"
get second.html
holds second.html '&lt;b&gt;after&lt;/b&gt; &quot;the&quot; page</li>' "not escaped"
subscribe third.txt "OTHEREPOCH:1"
holds third.txt '"recovered":false,"replay":0}' "a gap is not announced"

echo "5. the session of docs/protocol.md, on a new server"
dev session.log &
started+=($!)
NOTIFLUX_URL="$(served session.log)"
TOKEN="$("$work/notiflux" token --key keys/es256_private.pem --topic demo --scope subscribe,broadcast)"
export TOKEN
.venv/bin/python session.py docs/protocol.md || fail "the session differs" session.log

echo "6. a relay killed between publishing and deleting loses and repeats nothing, and a bad row does not block others"
guide=docs/guides/outbox.md
# rows CONDITION: prints how many rows of the outbox have a column refused that meets CONDITION.
rows() { python3 -c 'import sqlite3, sys; print(*sqlite3.connect("shop.sqlite").execute("SELECT count(*) FROM outbox WHERE refused " + sys.argv[1]).fetchone())' "$1"; }
(paste 2) >orders.txt 2>curl.log &
started+=($!)
eventually grep -q '^event: hello' orders.txt || fail "no event stream" curl.log
(paste 3) >shop.log 2>&1 || fail "the shop" shop.log
python3 examples/outbox/shop.py '' >refused.log 2>&1 && fail "an empty order is accepted"
python3 swallow.py >swallow.txt 2>swallow.log &
started+=($!)
eventually grep -qs '^http' swallow.txt || fail "the proxy does not start" swallow.log
(NOTIFLUX_URL="$(head -n 1 swallow.txt)" paste 4) >relay.log 2>&1 &
relay=$!
eventually grep -q '^200 ' swallow.txt || fail "nothing was published" relay.log swallow.log
kill -KILL "$relay"
wait "$relay" 2>/dev/null || true
holds swallow.txt '"position"' "nothing was published"
[ "$(rows 'IS NULL')" = 2 ] || fail "rows were deleted before the relay got an answer" shop.log
PYTHONPATH=examples/outbox python3 -c '
import outbox
with outbox.connect("shop.sqlite") as database: # Half of a surrogate pair: the server refuses the whole array.
    outbox.add(database, "orders", {"order": 0, "what": "\ud83d"})'
(paste 3) >>shop.log 2>&1 || fail "the shop" shop.log
(paste 4) >>relay.log 2>&1 &
started+=($!)
empty() { [ "$(rows 'IS NULL')" = 0 ]; }
eventually empty || fail "rows are left" relay.log
[ "$(rows "= 'malformed'")" = 1 ] && [ "$(rows 'IS NOT NULL')" = 1 ] || fail "only the bad row should be marked as refused" relay.log
delivered() { sed -n 's/.*"data":\({.*}\)}$/\1/p' orders.txt; }
want='{"order":1,"what":"three apples"}
{"order":2,"what":"a pear"}
{"order":3,"what":"three apples"}
{"order":4,"what":"a pear"}'
all() { [ "$(delivered | wc -l)" -ge 4 ]; }
eventually all || fail "orders are missing" orders.txt relay.log
[ "$(delivered)" = "$want" ] || fail "orders were lost, repeated or reordered" orders.txt relay.log

echo "7. the commands of docs/guides/presence.md"
guide=docs/guides/presence.md
(paste 2) >files.txt 2>files.log &
started+=($!)
eventually grep -qs ' port ' files.txt || fail "the page is not served" files.log
curl -sf -o page.html "http://127.0.0.1:$(sed 's/.* port \([0-9]*\) .*/\1/' files.txt)/page.html" || fail "no page" files.log
(paste 3) >addresses.txt 2>token.log || fail "no tokens" token.log
[ "$(grep -c '/page.html#token=eyJ' addresses.txt)" = 2 ] || fail "there should be two addresses with tokens" addresses.txt
(TOKEN="$(sed 's/.*token=//; q' addresses.txt)" paste 4) >presence.txt || fail "no presence"
holds presence.txt '{"topic":"room","count":0,"subscribers":0,"members":[]}' "presence differs"

if command -v redis-server >/dev/null; then
	echo "8. the commands of docs/guides/cluster.md"
	guide=docs/guides/cluster.md
	read -r redis first second < <(python3 -c '
import socket
all = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*(s.getsockname()[1] for s in all))')
	# cluster N: runs block N with free ports.
	cluster() {
		block "$1" | sed "s|redis-server|exec redis-server --bind 127.0.0.1 --port $redis|; s|:6379|:$redis|; s|\\b8080|$first|; s|\\b8090|$second|; s|:8091|:0|" >"cluster$1.sh"
		NOTIFLUX_ADMIN_ADDR='' exec bash -e "cluster$1.sh"
	}
	(NOTIFLUX_URL=http://127.0.0.1:8080 cluster 1) >redis.log 2>&1 &
	started+=($!)
	for n in 2 3; do
		(NOTIFLUX_URL=http://127.0.0.1:8080 cluster $n) >"node$n.log" 2>&1 &
		started+=($!)
		address "node$n.log" >/dev/null
	done
	ready() { curl -sf -o /dev/null "http://127.0.0.1:$first/readyz" && curl -sf -o /dev/null "http://127.0.0.1:$second/readyz"; }
	eventually ready || fail "the servers are not ready" redis.log node2.log node3.log
	(NOTIFLUX_URL=http://127.0.0.1:8080 cluster 4) >news.txt 2>news.log &
	started+=($!)
	eventually grep -q '^event: hello' news.txt || fail "no event stream" news.log node2.log
	(NOTIFLUX_URL=http://127.0.0.1:8080 cluster 5) >published.txt 2>curl.log || fail "not published" curl.log node3.log
	eventually grep -q '"data":"hello"' news.txt || fail "the message does not arrive at the other server" published.txt node2.log
	tokenless node2.log node3.log
elif [ "${REQUIRE_ALL:-}" = 1 ]; then
	fail "docs/guides/cluster.md needs redis-server (Debian: redis-server)"
fi

echo "9. Git ignores the files that the guides create in a checkout"
for left in shop.sqlite keys/*.pem .venv/bin/python; do
	[ -e "$left" ] || fail "the guides do not create $left"
	git -C checkout check-ignore -q "$left" || fail "Git does not ignore $left"
done
tokenless app.log relay.log shop.log files.log
