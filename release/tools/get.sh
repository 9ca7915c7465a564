#!/usr/bin/env bash
# get.sh cosign | actionlint | python: makes sure that a tool is there, and prints its path.
#
# cosign and actionlint are built from their Go modules (checksums in go.sum). `python` is a folder with the packages of requirements.txt.
set -euo pipefail
cd "$(dirname "$0")"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/gitward/release
mkdir -p "$cache"

if [ "$1" = python ]; then
  dest=$cache/python-$(sha256sum ../requirements.txt | cut -c1-16)
  if [ ! -d "$dest" ]; then
    work=$(mktemp -d "$cache/python.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    python3 -m pip install --quiet --no-deps --require-hashes --only-binary :all: --target "$work/packages" --requirement ../requirements.txt >&2
    mv "$work/packages" "$dest"
  fi
  echo "$dest"
  exit
fi

[ -f "$1/go.mod" ] || { echo "usage: get.sh cosign | actionlint | python" >&2; exit 2; }
package=$(sed -nE 's/^import _ "(.*)"$/\1/p' "$1/tools.go")
dest=$cache/$1-$(sha256sum "$1/go.mod" | cut -c1-16)
if [ ! -x "$dest" ]; then
  command -v go >/dev/null || { echo "get.sh: $1 is built by Go, which is not here: https://go.dev/dl" >&2; exit 1; }
  (cd "$1" && CGO_ENABLED=0 GOFLAGS=-mod=readonly go build -trimpath -ldflags="-s -w" -o "$dest.new" "$package" >&2)
  mv "$dest.new" "$dest"
fi
echo "$dest"
