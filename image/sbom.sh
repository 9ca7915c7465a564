#!/usr/bin/env bash
# sbom.sh rust DEST | go DEST BINARY…: writes bills of material (CycloneDX, JSON) into DEST, one for each program. TARGET is another Rust target than
# this machine's.
#
# From Cargo.lock for gitward, from what the Go linker wrote into them for the others. The tools that write them are built at the versions below.
set -euo pipefail
cargo_cyclonedx=0.5.9
cyclonedx_gomod=v1.10.0
cache=${XDG_CACHE_HOME:-$HOME/.cache}/gitward/sbom-$cargo_cyclonedx-$cyclonedx_gomod
source=$(cd "$(dirname "$0")/.." && pwd)

# The same sources give the same bytes: no serial number, and the time of the commit.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$source" log -1 --format=%ct 2>/dev/null || echo 0)}

case ${1:-} in
rust)
  mkdir -p "$2"
  dest=$(cd "$2" && pwd)
  [ -x "$cache/bin/cargo-cyclonedx" ] || cargo install --quiet --locked --debug --root "$cache" "cargo-cyclonedx@$cargo_cyclonedx"
  # It writes beside each Cargo.toml: a copy leaves the work tree alone.
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  tar --create --directory "$source" --exclude=./target --exclude=./dist --exclude=./.git . | tar --extract --directory "$work"
  target=${TARGET:-$(rustc --version --verbose | sed -n 's/^host: //p')}
  (cd "$work" && "$cache/bin/cargo-cyclonedx" cyclonedx --quiet --format json --no-build-deps --target "$target")
  sed -i "s|$work||g" "$work/gitward.cdx.json"
  mv "$work/gitward.cdx.json" "$dest/gitward.cdx.json"
  ;;
go)
  dest=$2
  shift 2
  mkdir -p "$dest"
  [ -x "$cache/bin/cyclonedx-gomod" ] || GOBIN=$cache/bin go install "github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@$cyclonedx_gomod"
  for binary; do
    "$cache/bin/cyclonedx-gomod" bin -json -std -noserial -notimestamp -output "$dest/${binary##*/}.cdx.json" "$binary"
  done
  ;;
*)
  echo "usage: sbom.sh rust DEST | sbom.sh go DEST BINARY…" >&2
  exit 2
  ;;
esac
