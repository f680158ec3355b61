# GO_IMAGE provides the go command, a shell, and the certificates of public authorities. The final
# image contains nothing else of it than these certificates.
ARG GO_IMAGE=docker.io/library/golang:1.26
FROM --platform=$BUILDPLATFORM $GO_IMAGE AS build
ARG TARGETOS
ARG TARGETARCH
ARG VERSION
ENV CGO_ENABLED=0 GOCACHE=/cache/build GOMODCACHE=/cache/modules
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/cache \
    GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -o /out/notiflux \
    -ldflags "-s -w -X github.com/ikornaselur/notiflux/internal/config.version=$VERSION" ./cmd/notiflux

FROM scratch
ARG VERSION
LABEL org.opencontainers.image.title="notiflux" \
      org.opencontainers.image.description="A real-time pub/sub server" \
      org.opencontainers.image.source="https://github.com/ikornaselur/notiflux" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="$VERSION"
COPY --from=build /out/notiflux /notiflux
# The public certificate authorities, for --jwks-url https://… and --broker rediss://….
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
# The server listens on all addresses of the container. The admin listener keeps its default,
# 127.0.0.1:8081, which cannot be reached from outside.
ENV HOST=0.0.0.0
EXPOSE 8080
# Numbers, because the image has no user database. The server writes no files.
USER 65532:65532
HEALTHCHECK --interval=10s --timeout=6s --start-period=5s CMD ["/notiflux", "health"]
ENTRYPOINT ["/notiflux"]
CMD ["serve"]
