#!/usr/bin/env bash
# Gets the charts and manifests of tests/compatibility, and prints where each package lies: one `name version folder` a line.
#
# They come out of packages of the usual registries, by the usual clients, with pinned versions and checksums: Go modules
# that the tools of the test cluster are built from anyway (go.sum there), and Python wheels (requirements.txt).
# Nothing in them is run.
set -euo pipefail
cd "$(dirname "$0")"

cache=${GITWARD_COMPATIBILITY:-${XDG_CACHE_HOME:-$HOME/.cache}/gitward/compatibility}
wheels=$cache/wheels-$(sha256sum requirements.txt | cut -c1-16)
mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9
if [ ! -d "$wheels" ]; then
  work=$(mktemp -d "$cache/new.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  # One platform for all, so that there is one checksum.
  python3 -m pip download --quiet --no-deps --require-hashes --only-binary :all: --platform manylinux_2_28_x86_64 \
    --python-version 3.12 --implementation cp --abi abi3 --abi none --dest "$work" --requirement requirements.txt >&2
  for wheel in "$work"/*.whl; do
    python3 -m zipfile -e "$wheel" "$work/unpacked"
  done
  mv "$work/unpacked" "$wheels"
fi

module() {
  local answer
  answer=$(cd "../cluster/tools/$2" && GOFLAGS=-mod=readonly go mod download -json "$3")
  echo "$1 $(sed -nE 's/^\t"Version": "v(.*)",?$/\1/p' <<<"$answer") $(sed -nE 's/^\t"Dir": "(.*)",?$/\1/p' <<<"$answer")"
}
module kwok kwok sigs.k8s.io/kwok
module kubernetes kubernetes k8s.io/kubernetes
module helm helm helm.sh/helm/v4
module kustomize kustomize sigs.k8s.io/kustomize/api
wheel() { echo "$1 $(sed -nE "s/^$1==([^ ]*) .*/\1/p" requirements.txt) $wheels/${1//-/_}"; }
wheel dask-kubernetes
wheel magnum-cluster-api
