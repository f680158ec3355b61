# Names for commands that anyone could type.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
IMAGE ?= notiflux
ENGINE ?= docker
FUZZTIME ?= 30s

.PHONY: build dev test fuzz faults cuts tabs bench image
build:
	go build -trimpath -o notiflux ./cmd/notiflux

dev:
	go run ./cmd/notiflux dev

test: # REQUIRE_ALL=1: a suite that cannot run here fails it
	@bash test/run.sh

fuzz:
	@bash test/fuzz.sh $(FUZZTIME)

faults: # of Redis and of servers that share it: more and longer than in the tests
	go test ./internal/broker/redis -run Faults -faults 20 -timeout 1h

cuts: # of connections of the JavaScript and the Python SDK: 1,000 in each of their tests
	cd sdk/js && npm ci --silent && npm run --silent build && CUTS=1000 npm run --silent test cut cut-chromium
	CUTS=1000 bash test/sdk-python.sh

tabs: # of Chromium that share a connection: longer than in the tests
	cd sdk/js && npm ci --silent && npm run --silent build && TABS_SECONDS=300 npm run --silent test tabs-chromium

bench:
	go test -run '^$$' -bench . -benchmem ./...

image: # ENGINE=podman or buildah; GO_IMAGE: another image with the go command
	$(ENGINE) build $(if $(GO_IMAGE),--build-arg GO_IMAGE=$(GO_IMAGE)) \
		--build-arg VERSION=$(VERSION) --tag $(IMAGE) .
