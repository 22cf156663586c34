# syntax=docker/dockerfile:1
# One small image with one binary, run by nobody in particular.
#
#   docker build -t larder .
#   docker run -p 8080:8080 -v ./proxy.toml:/etc/larder/proxy.toml:ro larder
#
# The file must listen on 0.0.0.0:8080: the loopback of a container is reachable from within it only.

FROM rust:1.95-slim-bookworm AS builder
# aws-lc-rs and mimalloc are C: the slim image has a linker, but neither make nor the headers.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends build-essential cmake \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin larder \
 && cp target/release/larder /larder

# glibc, certificates and nothing else; the tag brings the user `nonroot` (65532).
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=builder /larder /usr/local/bin/larder
COPY --from=builder /build/proxy.toml /etc/larder/proxy.toml
COPY --from=builder /build/LICENSE /build/LICENSE-MIT /usr/share/doc/larder/
USER nonroot
# The admin listener (9080) is for loopback, or for a token: it is not exposed here.
EXPOSE 8080
# SIGTERM drains: give it server.drain_timeout (30 s) and a little more, `docker stop --time 35`.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/larder"]
CMD ["serve", "--config", "/etc/larder/proxy.toml"]
