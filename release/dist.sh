#!/usr/bin/env bash
# dist.sh OUT TARGET…: builds everything that a release has, for Rust targets such as x86_64-unknown-linux-musl, into OUT/gitward-VERSION, and the
# same as one archive for clusters without a network, OUT/gitward-VERSION-airgap.tar. Signs where COSIGN_KEY names a key (sign.sh).
set -euo pipefail
source "$(dirname "$0")/lib.sh"
out=$1
shift
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$repository"

# What is missing is said before anything is built.
for tool in cargo go python3 readelf; do command -v $tool >/dev/null || die "$tool is needed to build a release"; done
missing=
for target; do
  arch_of "$target" >/dev/null
  [ -d "$(rustc --print target-libdir --target "$target" 2>/dev/null)" ] || missing="$missing $target"
done
[ -z "$missing" ] || die "Rust's standard library is not here for$missing. Install it: rustup target add$missing; or choose others by TARGETS=…"
archs=$(for target; do arch_of "$target"; done)
[ -z "$(echo "$archs" | sort | uniq -d)" ] || die "two targets of one architecture: $*"
echo "$archs" | grep -qx "$(machine)" || die "one of the targets has to run on this machine, since the program itself writes its manual pages: $*"

work=$repository/target/release-inputs
rm -rf "$work"
for target; do
  arch=$(arch_of "$target")
  say "gitward for $target"
  release/build.sh "$target" "$work/$arch"
  say "helm and kustomize for $arch"
  GOOS=linux GOARCH=$arch image/programs.sh "$work/$arch"
  say "the bills of material for $target"
  TARGET=$target image/sbom.sh rust "$work/$arch/sbom"
  image/sbom.sh go "$work/$arch/sbom" "$work/$arch/helm" "$work/$arch/kustomize"
done
release/assemble.sh "$work" "$out/gitward-$version"
[ -z "${COSIGN_KEY:-}" ] || release/sign.sh "$out/gitward-$version"
release/airgap.sh "$out/gitward-$version"
