#!/usr/bin/env bash
# programs.sh DEST: builds helm and kustomize from their Go modules, at the versions and with the checksums that the tests use.
set -euo pipefail
tools=$(cd "$(dirname "$0")/../tests/cluster/tools" && pwd)
dest=$(mkdir -p "$1" && cd "$1" && pwd)

# build NAME MODULE PACKAGE VARIABLE: the variable gets the version.
build() {
  local version
  version=$(sed -nE "s|^require $2 (v.+)|\1|p" "$tools/$1/go.mod")
  (cd "$tools/$1" && CGO_ENABLED=0 GOFLAGS=-mod=readonly go build -trimpath -ldflags="-s -w -X $4=$version" -o "$dest/$1" "$3")
}
build helm helm.sh/helm/v4 helm.sh/helm/v4/cmd/helm helm.sh/helm/v4/internal/version.version
build kustomize sigs.k8s.io/kustomize/kustomize/v5 sigs.k8s.io/kustomize/kustomize/v5 sigs.k8s.io/kustomize/api/provenance.version
