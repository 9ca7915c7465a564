#!/usr/bin/env bash
# image.sh PROGRAM OUT: the image with a program that was built for tests, without its line numbers; put together as the Dockerfile says.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tools=$(tests/cluster/tools/get.sh 2>/dev/null)
strip -o "$work/gitward" "$1"
image/sbom.sh rust "$work/sbom"
image/sbom.sh go "$work/sbom" "$tools/helm" "$tools/kustomize"
image/rootfs.sh "$work/gitward" "$tools/helm" "$tools/kustomize" "$work/root" "$work"/sbom/*.json
image/pack.sh "$work/root" "$2" localhost/gitward:e2e
