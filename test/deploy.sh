#!/usr/bin/env bash
# Runs the services of deploy/compose.yaml as processes, with the commands, the environment and
# the health checks of that file, and with deploy/nginx.conf. Then it publishes and subscribes
# through the proxy while nodes stop, crash and return. Some things are replaced: addresses and
# folders; the host names of the nodes, which only Docker's networks know; valkey-server, by
# redis-server if it is missing; and wget, by curl.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
	skip "needs Python 3.11 with its venv module (Debian: python3-venv)"
command -v curl >/dev/null || skip "needs curl"
nginx="$(PATH="$PATH:/usr/sbin" command -v nginx)" || skip "needs nginx (Debian: nginx)"
redis="$(command -v valkey-server || command -v redis-server)" || skip "needs Redis or Valkey (Debian: redis-server)"
redis_cli="${redis%-server}-cli"

python=python3
if ! python3 -c 'import yaml' 2>/dev/null; then
	python3 -m venv "$work/venv"
	python="$work/venv/bin/python"
	"$python" -m pip install -q --disable-pip-version-check -r test/deploy/requirements.txt >"$work/pip.log" 2>&1 || fail "pip" "$work/pip.log"
fi
go build -o "$work/notiflux" ./cmd/notiflux
compose() { "$python" test/deploy/compose.py "$@"; }

echo "1. the file, and what it says without a key"
timeout="$("$work/notiflux" serve -h | sed -n 's/.*--shutdown-timeout=\([0-9]*s\).*/\1/p')"
status=0
(unset JWT_PUBLIC_KEY_B64 && compose read deploy/compose.yaml) >"$work/services.sh" 2>"$work/compose.log" || status=$?
[ "$status" != 0 ] && grep -q 'JWT_PUBLIC_KEY_B64 is missing.*notiflux keys' "$work/compose.log" ||
	fail "a missing key is not reported" "$work/compose.log"
"$work/notiflux" keys --dir "$work/keys" >"$work/.env"
# shellcheck disable=SC1091 # Compose reads it as .env.
(set -a && . "$work/.env" && compose check deploy/compose.yaml "$timeout" && compose read deploy/compose.yaml) \
	>"$work/services.sh" 2>"$work/compose.log" || fail "deploy/compose.yaml" "$work/compose.log"
declare -a services proxy_command valkey_command
# shellcheck disable=SC1091 # compose.py has written it.
. "$work/services.sh"

declare -A port # of each service, and of the admin listeners of the nodes
while read -r name number; do
	port[$name]=$number
done < <(python3 -c '
import socket
all = {name: socket.create_server(("127.0.0.1", 0)) for name in ("node1", "node2", "admin1", "admin2", "valkey", "proxy")}
for name, s in all.items(): print(name, s.getsockname()[1])')
url="http://127.0.0.1:${port[proxy]}"
mkdir "$work/valkey" "$work/nginx"
sed -e "s|node\([12]\):8080 resolve|127.0.0.1:PORT\1|; s|PORT1|${port[node1]}|; s|PORT2|${port[node2]}|" \
	-e "s|listen 8080;|listen 127.0.0.1:${port[proxy]};|" -e "s|/tmp/|$work/nginx/|" deploy/nginx.conf >"$work/nginx.conf"
! grep -n '8080\|/tmp/[a-z]*;' "$work/nginx.conf" || fail "an address or a folder is not replaced"

declare -A process
# start SERVICE: runs it in the background. Its output goes to SERVICE.log.
start() {
	run "$1" >>"$work/$1.log" 2>&1 &
	process[$1]=$!
	started+=($!)
}

# run SERVICE: becomes its process.
run() {
	case $1 in
	node*)
		within "$1" serve
		;;
	valkey)
		[ "${valkey_command[0]}" = valkey-server ] || fail "valkey runs ${valkey_command[0]}"
		exec "$redis" "${valkey_command[@]:1}" --bind 127.0.0.1 --port "${port[valkey]}" --dir "$work/valkey"
		;;
	proxy)
		[ "${proxy_command[*]}" = "nginx -g daemon off;" ] || fail "the proxy runs ${proxy_command[*]}"
		[ "$(id -u)" != 0 ] || proxy_command[2]+=" user root;"
		exec "$nginx" -c "$work/nginx.conf" "${proxy_command[@]:1}"
		;;
	esac
}

# within NODE ARGUMENT...: becomes notiflux, with the environment of the image and of the node.
within() {
	local -n environment="$1_environment"
	local all=("${environment[@]/valkey:6379/127.0.0.1:${port[valkey]}}")
	all=("${all[@]/NOTIFLUX_ADMIN_ADDR=:8081/NOTIFLUX_ADMIN_ADDR=127.0.0.1:${port[admin${1#node}]}}")
	exec env -i HOST=127.0.0.1 PORT="${port[$1]}" "${all[@]}" "$work/notiflux" "${@:2}"
}

# healthy SERVICE: its health check.
healthy() {
	local -n health="$1_health"
	case $1 in
	node*) (within "$1" "${health[@]:1}") ;;
	valkey) sh -c "${health[2]/valkey-cli/$redis_cli -p ${port[valkey]}}" ;;
	proxy) curl -sf -o /dev/null "${health[4]/8080/${port[proxy]}}" ;;
	esac >/dev/null 2>&1
}

# up SERVICE: starts it and waits until it is healthy.
up() {
	start "$1"
	eventually healthy "$1" || fail "$1 is not healthy" "$work/$1.log"
}

# await SERVICE: waits until it has ended, and returns its exit status.
await() {
	local status=0
	wait "${process[$1]}" 2>/dev/null || status=$?
	unset "process[$1]"
	return $status
}

echo "2. the services start in their order and become healthy"
for service in "${services[@]}"; do
	up "$service"
done
for setting in "appendonly yes" "maxmemory 536870912" "maxmemory-policy noeviction"; do
	got="$("$redis_cli" -p "${port[valkey]}" config get "${setting% *}" | tail -n 1)"
	[ "$got" = "${setting#* }" ] || fail "valkey has $got, want $setting" "$work/valkey.log"
done

token() { "$work/notiflux" token --key "$work/keys/es256_private.pem" --topic news --topic large --topic once --scope "$1"; }
TOKEN="$(token subscribe)"
PUBLISHER="$(token broadcast)"
export TOKEN

# post BODY: publishes once through the proxy, without a key, and prints the status.
post() {
	curl -s -o "$work/answer.txt" -w '%{http_code}' "$url/broadcast" -H "Authorization: Bearer $PUBLISHER" --data-binary "$1"
}

# publish FIRST LAST: publishes these numbers, one every 30 ms.
publish() {
	for ((i = $1; i <= $2; i++)); do
		echo "$i"
		sleep 0.03
	done | NOTIFLUX_TOKEN="$PUBLISHER" "$work/notiflux" broadcast news - --url "$url" 2>"$work/publisher.log"
}

# sessions NODE: prints the number of its clients.
sessions() { curl -sf "http://127.0.0.1:${port[admin${1#node}]}/metrics" | sed -n 's/^notiflux_sessions //p'; }

subscribers=(socket1 socket2 events1 events2) sockets=()
# subscribe NAME: becomes a subscriber that writes NAME.txt.
subscribe() {
	case $1 in
	socket*) NOTIFLUX_TOKEN="$TOKEN" exec "$work/notiflux" subscribe news --url "$url" ;;
	events*) exec python3 test/deploy/events.py "$url" news ;;
	esac >"$work/$1.txt" 2>"$work/$1.log"
}

# received LAST: every subscriber has the numbers from 1 to LAST.
received() {
	local name
	for name in "${subscribers[@]}"; do
		[ "$(wc -l <"$work/$name.txt")" -ge "$1" ] || return 1
	done
}

# complete LAST: they have them once and in order, and nothing else.
complete() {
	local name
	eventually received "$1" || fail "messages are missing" "$work"/{socket,events}[12].{txt,log} "$work"/node[12].log
	for name in "${subscribers[@]}"; do
		diff <(seq "$1") "$work/$name.txt" || fail "$name lost, repeated or reordered messages" "$work/$name.log"
		! grep 'lost\|missing' "$work/$name.log" || fail "$name was told that messages are missing"
	done
}

echo "3. WebSockets and event streams on both nodes get what is published through the proxy"
for name in "${subscribers[@]}"; do
	subscribe "$name" &
	started+=($!)
	[ "${name%[12]}" != socket ] || sockets+=($!)
	eventually grep -qs subscribed "$work/$name.log" || fail "$name is not subscribed" "$work/$name.log" "$work/proxy.log"
done
[ "$(sessions node1) $(sessions node2)" = "2 2" ] || fail "the nodes have $(sessions node1) and $(sessions node2) clients, want 2 each" "$work/proxy.log"
publish 1 10 || fail "the broadcast" "$work/publisher.log"
complete 10
python3 -c 'import json; print(json.dumps([{"topic": "large", "message": "x" * 1000}] * 200))' >"$work/large.json"
[ "$(post "@$work/large.json")" = 200 ] || fail "an array of 200 kB is refused" "$work/answer.txt" "$work/proxy.log"
[ "$(head -c 1100000 /dev/zero | tr '\0' ' ' | post @-)" = 413 ] && grep -q '"code":"too_large"' "$work/answer.txt" ||
	fail "the server does not refuse a large body itself" "$work/answer.txt"

echo "4. node1 stops: its clients continue at node2, and broadcasts reach it"
publish 11 70 &
publisher=$!
eventually received 20 || fail "nothing arrives" "$work/publisher.log"
kill "${process[node1]}"
await node1 || fail "node1 ends with status $?" "$work/node1.log"
wait "$publisher" || fail "a broadcast fails while a node stops" "$work/publisher.log" "$work/proxy.log"
complete 70
for i in {71..90}; do
	[ "$(post "{\"topic\":\"news\",\"message\":\"$i\"}")" = 200 ] || fail "a broadcast fails while a node is down" "$work/answer.txt" "$work/proxy.log"
done
complete 90

echo "5. node1 returns, and node2 crashes"
up node1
publish 91 150 &
publisher=$!
eventually received 100 || fail "nothing arrives" "$work/publisher.log"
kill -KILL "${process[node2]}"
{ await node2 || true; } 2>/dev/null # Bash reports the signal.
wait "$publisher" || fail "a broadcast fails while a node crashes" "$work/publisher.log" "$work/proxy.log"
complete 150

echo "6. a request that gets no answer is sent to the other node, but no broadcast is"
python3 test/deploy/swallow.py "${port[node2]}" >"$work/swallow.txt" 2>&1 &
swallow=$!
started+=("$swallow")
eventually grep -qs listening "$work/swallow.txt" || fail "node2's port is taken" "$work/swallow.txt"
# swallowed METHOD: prints how many requests node2 took. It gets the next one, because it has no clients.
swallowed() { grep -c "^$1 " "$work/swallow.txt" || true; }
code="$(post '{"topic":"once","message":""}')"
[ "$code $(swallowed POST)" = "502 1" ] || fail "the broadcast got $code, and node2 got it $(swallowed POST) times" "$work/proxy.log"
curl -sf "$url/history?topic=once" -H "Authorization: Bearer $TOKEN" >"$work/history.txt" || fail "no history" "$work/proxy.log"
grep -q '"messages":\[\]' "$work/history.txt" || fail "the broadcast was sent to the other node too" "$work/history.txt"
[ "$(swallowed GET)" = 1 ] || fail "node2 got $(swallowed GET) requests for the history, want 1" "$work/proxy.log"
! grep 'node=nodes' "$work/proxy.log" || fail "the proxy took both nodes for dead"
kill "$swallow"
{ wait "$swallow" || true; } 2>/dev/null

echo "7. without a node, an EventSource keeps trying, and continues when one returns"
complete 150
subscribers=(events1 events2) # Other clients may wait longer before they try again.
kill "${sockets[@]}"
kill "${process[node1]}"
await node1 || fail "node1 ends with status $?" "$work/node1.log"
curl -sf -D "$work/headers.txt" -H "Origin: https://app.example.com" "$url/events?topic=news&token=$TOKEN" >"$work/away.txt" || fail "no event stream" "$work/proxy.log"
grep -q '^retry: 2000' "$work/away.txt" && grep -qi '^content-type: text/event-stream' "$work/headers.txt" &&
	grep -qi '^access-control-allow-origin: https://app.example.com' "$work/headers.txt" ||
	fail "the proxy answers with something else" "$work/headers.txt" "$work/away.txt"
[ "$(curl -s -o /dev/null -w '%{http_code}' "$url/stream?topic=news&token=$TOKEN")" = 502 ] || fail "a stream without a node"
up node2
publish 151 160 || fail "the broadcast" "$work/publisher.log"
complete 160

echo "8. no token is logged"
kill "${process[proxy]}"
await proxy || fail "the proxy ends with status $?" "$work/proxy.log"
grep -q "GET \"/events\" 200 .*node=127.0.0.1:${port[node2]} node_status=200" "$work/proxy.log" || fail "the proxy logs no requests" "$work/proxy.log"
tokenless "$work"/*.log
