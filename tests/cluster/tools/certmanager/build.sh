#!/usr/bin/env bash
# Builds cert-manager beside the other tools, with its CRDs: for `make test-cert-manager` only, since it takes some minutes.
set -euo pipefail
cd "$(dirname "$0")"
dir=$(../get.sh 2>/dev/null)
module=github.com/cert-manager/cert-manager
version=$(sed -nE "s|^\s*(require )?$module (v[^ ]*)$|\2|p" go.mod)
if ! { [ -x "$dir/certmanager" ] && grep -qaF "$module@$version" "$dir/certmanager"; }; then
  CGO_ENABLED=0 GOFLAGS=-mod=readonly go build -trimpath -ldflags="-s -w" -o "$dir/certmanager.new" .
  mv "$dir/certmanager.new" "$dir/certmanager"
fi
for crd in "$(GOFLAGS=-mod=readonly go list -m -f '{{.Dir}}' $module)"/deploy/crds/*.yaml; do
  echo ---
  cat "$crd"
done >"$dir/certmanager.yaml"
