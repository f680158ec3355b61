#!/usr/bin/env bash
# Builds the container image by `make image`, looks at what it declares, runs it
# with nothing but its own root file system, and has a client talk to it.
#
# Buildah, as root, needs neither an engine nor an image registry: the builder
# image is made of this machine's Go toolchain and shell, and what is built runs
# in a chroot. Docker takes the builder image that the Dockerfile names (or
# GO_IMAGE), and runs a container.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

image="localhost/notiflux-test"
version="v0.0.0-test"

choose_engine() {
	if [ "$(uname -s) $(id -u)" = "Linux 0" ] && command -v buildah >/dev/null; then
		echo buildah
	elif docker info >/dev/null 2>&1; then
		echo docker
	fi
}
engine="$(choose_engine)"
[ -n "$engine" ] || skip "needs a running Docker, or root and Buildah (Debian: buildah)"
command -v curl >/dev/null || skip "needs curl"

# Buildah keeps everything in a folder that goes away with this suite.
buildah_apart() {
	export CONTAINERS_STORAGE_CONF="$work/storage.conf" TMPDIR="$work/tmp"
	export BUILDAH_ISOLATION=chroot BUILDAH_FORMAT=docker # an OCI image has no HEALTHCHECK
	mkdir "$TMPDIR"
	printf '[storage]\ndriver = "vfs"\ngraphroot = "%s"\nrunroot = "%s"\n' \
		"$work/graph" "$work/run" >"$CONTAINERS_STORAGE_CONF"
}

# go_image NAME: a base image that holds what the builder stage needs: the go
# command, a shell with its libraries, and the certificates of module proxies.
go_image() {
	local root="$work/go-image" go container file
	go="$(go env GOROOT)"
	mkdir -p "$root/tmp" "$root/usr/local/go"
	cp -R "$go"/{bin,pkg,src,lib,go.env,VERSION} "$root/usr/local/go"
	for file in /bin/sh $(ldd /bin/sh | grep -o '/[^ ]*') /etc/ssl/certs/ca-certificates.crt; do
		mkdir -p "$root${file%/*}"
		cp -L "$file" "$root$file"
	done
	container="$(buildah from scratch)"
	buildah copy --quiet "$container" "$root" / >/dev/null
	buildah config --env PATH=/usr/local/go/bin:/bin "$container"
	buildah commit --quiet --rm "$container" "$1" >/dev/null
	rm -rf "$root"
}

# config FIELD: what the image declares.
config() {
	case $engine in
	buildah) buildah inspect --type image --format "{{.Docker.Config.$1}}" "$image" ;;
	docker) docker image inspect --format "{{.Config.$1}}" "$image" ;;
	esac
}

# declares FIELD WANT
declares() {
	local got
	got="$(config "$1")"
	case $got in
	*"$2"*) ;;
	*) fail "the image's $1 is $got; want $2" ;;
	esac
}

# in_image ARGUMENT...: runs the binary of the image once.
in_image() {
	case $engine in
	buildah) (chrooted /notiflux "$@") ;;
	docker) docker run --rm "$image" "$@" ;;
	esac
}

# authorities: the certificates of the authorities that the image trusts.
authorities() {
	local file=/etc/ssl/certs/ca-certificates.crt container
	case $engine in
	buildah) cat "$root$file" ;;
	docker)
		container="$(docker create "$image")"
		docker cp "$container:$file" - | tar -xO
		docker rm "$container" >/dev/null
		;;
	esac
}

# start: runs the server in the image as declared, its log in server.log.
start() {
	case $engine in
	buildah) chrooted /notiflux serve 2>"$work/server.log" & ;;
	docker)
		docker run --rm --read-only --cidfile "$work/container" --publish 127.0.0.1::8080 \
			--env JWT_PUBLIC_KEY_B64="$key" "$image" 2>"$work/server.log" &
		;;
	esac
	started+=($!)
	url="$(address "$work/server.log")"
	if [ "$engine" = docker ]; then
		url="http://$(docker port "$(cat "$work/container")" 8080/tcp | head -n 1)"
	fi
}

# chrooted COMMAND...: in the image's root file system, as its user, with its
# environment and nothing else, on a free port.
chrooted() {
	local declared
	declared="$(config Env)"
	declared="${declared#[}"
	# shellcheck disable=SC2086 # its words are the variables
	exec env -i ${declared%]} PORT="${port:-0}" JWT_PUBLIC_KEY_B64="$key" \
		chroot --userspec="$(config User)" "$root" "$@"
}

# healthy: the image's own health check, run where the server runs.
healthy() {
	case $engine in
	buildah) (port="${url##*:}" && chrooted /notiflux health) ;;
	docker) docker exec "$(cat "$work/container")" /notiflux health ;;
	esac
}

echo "1. build by $engine"
key=""
arguments=(IMAGE="$image" ENGINE="$engine" VERSION="$version")
if [ "$engine" = buildah ]; then
	buildah_apart
	go_image localhost/go-image
	arguments+=(GO_IMAGE=localhost/go-image)
fi
make --no-print-directory image "${arguments[@]}" >"$work/build.log" 2>&1 || fail "make image" "$work/build.log"
[ "$engine" != buildah ] || root="$(buildah mount "$(buildah from "$image")")"

echo "2. what it declares"
declares User 65532:65532
declares Env HOST=0.0.0.0
declares ExposedPorts 8080/tcp
declares Entrypoint /notiflux
declares Cmd serve
declares Healthcheck.Test "/notiflux health"
authorities | grep -F "BEGIN CERTIFICATE" >/dev/null || fail "it trusts no authority, so it cannot load keys over https"
in_image version | grep -qF "$version" || fail "its version is $(in_image version)"

echo "3. run it, and talk to it"
go build -o "$work/notiflux" ./cmd/notiflux
"$work/notiflux" keys --dir "$work" >/dev/null
key="$(base64 <"$work/es256_public.pem")"
token() { "$work/notiflux" token --key "$work/es256_private.pem" --topic news --scope "$1"; }
start
healthy || fail "the health check fails" "$work/server.log"
curl -fsS "$url/health"
"$work/notiflux" subscribe news --url "$url" --token "$(token subscribe)" >"$work/received.txt" 2>"$work/subscriber.log" &
started+=($!)
broadcast="$(token broadcast)"
probe() {
	"$work/notiflux" broadcast news "out of the image" --url "$url" --token "$broadcast" >/dev/null
	grep -q '^out of the image$' "$work/received.txt"
}
eventually probe || fail "nothing is received" "$work/server.log" "$work/subscriber.log"

echo "4. it ends in good order, and tells no token"
kill "${started[0]}"
wait "${started[0]}" || fail "the server's exit status is $?" "$work/server.log"
tokenless "$work/server.log" "$work/subscriber.log"
