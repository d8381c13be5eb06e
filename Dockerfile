# syntax=docker/dockerfile:1

# Builds the program and puts it alone into an image: no shell, no package manager, no root.
#
# Both stages are the same Debian, 13 (trixie): the program needs the glibc that it was linked with, or a
# newer one, and Debian 12 has an older one.
ARG RUST_VERSION=1.95

FROM rust:${RUST_VERSION}-slim-trixie AS build
# Its gcc is all that the libraries in C need (AWS-LC, SQLite, libsecp256k1); the protos are compiled without
# protoc.
WORKDIR /build
COPY Cargo.toml Cargo.lock build.rs ./
# Cargo.toml names them: without them nothing builds.
COPY benches ./benches
COPY fuzz ./fuzz
COPY migrations ./migrations
COPY proto ./proto
COPY src ./src
# What was downloaded and compiled is kept by the builder for the next time; the program itself has to leave
# the cache in the same step.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked \
    && install -D target/release/countersign /image/countersign \
    && install -d /image/data

# What the program is linked with is libc, libm and libgcc_s: `cc` has these, and `base` lacks the last.
# Certificates of the usual authorities come along.
FROM gcr.io/distroless/cc-debian13:nonroot
COPY --from=build /image/countersign /usr/local/bin/countersign
# The embedded store's folder; whoever uses PostgreSQL leaves it empty.
COPY --from=build --chown=65532:65532 /image/data /var/lib/countersign
VOLUME /var/lib/countersign
# Within a container loopback reaches nobody, so the ports are open on every address. That is plain text, and
# the service refuses it until whoever runs the image says that it is protected, by
# COUNTERSIGN_PLAINTEXT_BEHIND_MESH=true. The image does not say so for them.
ENV COUNTERSIGN_GRPC_LISTEN=0.0.0.0:50051 \
    COUNTERSIGN_HTTP_LISTEN=0.0.0.0:50052 \
    COUNTERSIGN_OPERATIONS_LISTEN=0.0.0.0:50053 \
    COUNTERSIGN_DATA_DIR=/var/lib/countersign
EXPOSE 50051 50052 50053
# By number, so that Kubernetes can see that it is not root.
USER 65532:65532
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["countersign", "healthcheck"]
ENTRYPOINT ["countersign"]
CMD ["serve"]
