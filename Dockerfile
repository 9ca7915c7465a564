# The image: gitward with helm and kustomize and the few libraries it needs, without a shell, for the user 65532.
#
#   make image                                              # with docker, podman or buildah; without any: the same root, packed by image/pack.sh
#   docker build -t registry.example.com/gitward:0.2.0 .
#
# Base images by exact version; where your builder wants digests: docker buildx imagetools inspect IMAGE.
FROM docker.io/library/golang:1.26.8-bookworm AS programs
ARG SOURCE_DATE_EPOCH=0
WORKDIR /src
COPY tests/cluster/tools tests/cluster/tools
COPY image image
RUN image/programs.sh /out && image/sbom.sh go /sbom /out/helm /out/kustomize

FROM docker.io/library/rust:1.95.0-bookworm AS build
ARG SOURCE_DATE_EPOCH=0
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin gitward && image/sbom.sh rust /sbom
COPY --from=programs /out /out
COPY --from=programs /sbom /sbom
RUN image/rootfs.sh target/release/gitward /out/helm /out/kustomize /rootfs /sbom/*.json

FROM scratch
ARG REVISION=unknown
LABEL org.opencontainers.image.title="gitward" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /rootfs /
ENV PATH=/usr/local/bin
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/gitward"]
