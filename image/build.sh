#!/usr/bin/env bash
# build.sh NAME:TAG [OUT]: builds the image with docker, podman or buildah, whichever can. Where none can, it builds the program here, puts the same
# root together, and packs it into OUT, a file for `ctr images import`, `podman load` or `skopeo copy oci-archive:…`.
set -euo pipefail
cd "$(dirname "$0")/.."
reference=$1 out=${2:-target/image/gitward.tar}
say() { printf '%4ds  %s\n' "$SECONDS" "$*" >&2; }

SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || echo 0)
export SOURCE_DATE_EPOCH
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
for builder in docker podman buildah; do
  command -v $builder >/dev/null || continue
  # A client without its engine builds nothing.
  if $builder info >/dev/null 2>&1; then
    say "builds with $builder"
    exec $builder build --build-arg "SOURCE_DATE_EPOCH=$SOURCE_DATE_EPOCH" --build-arg "REVISION=$revision" --tag "$reference" .
  fi
  say "$builder cannot build here: it has no engine, or no rights"
done

say "without a builder: the program is built here"
work=target/image
rm -rf "$work/root" "$work/sbom"
mkdir -p "$work" "$(dirname "$out")"
cargo build --release --locked --bin gitward
say "helm and kustomize"
image/programs.sh "$work"
say "the bills of material"
image/sbom.sh rust "$work/sbom"
image/sbom.sh go "$work/sbom" "$work/helm" "$work/kustomize"
image/rootfs.sh target/release/gitward "$work/helm" "$work/kustomize" "$work/root" "$work"/sbom/*.json
say "packs it"
image/pack.sh "$work/root" "$out" "$reference"
