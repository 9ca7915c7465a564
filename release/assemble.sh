#!/usr/bin/env bash
# assemble.sh INPUTS OUT: makes the files of a release from what was built. INPUTS has a folder for each architecture, with the programs gitward,
# helm and kustomize, and sbom/*.cdx.json; that of this machine has to be among them.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
inputs=$(cd "$1" && pwd)
rm -rf "$2"
mkdir -p "$2"
out=$(cd "$2" && pwd)
cd "$repository"
native=$inputs/$(machine)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say "completions and manual pages"
mkdir -p "$work/completions" "$work/man/man1"
"$native/gitward" completions bash >"$work/completions/gitward.bash"
"$native/gitward" completions zsh >"$work/completions/_gitward"
"$native/gitward" completions fish >"$work/completions/gitward.fish"
"$native/gitward" man "$work/man/man1"

# stage NAME ARCH FILE…: packs files, and the licence, as NAME-VERSION-linux-ARCH.tar.gz.
stage() {
  local name=$1-$version-linux-$2
  shift 2
  mkdir "$work/$name"
  cp -R "$@" LICENSE "$work/$name/"
  archive "$work/$name" "$out/$name.tar.gz"
}
images=()
for folder in "$inputs"/*/; do
  arch=$(basename "$folder")
  say "the archives for $arch"
  stage gitward "$arch" "$folder/gitward" "$work/completions" "$work/man"
  stage gitward-tools "$arch" "$folder/helm" "$folder/kustomize"
  mkdir "$work/plugin"
  cp "$folder/gitward" "$work/plugin/kubectl-gitward"
  stage kubectl-gitward "$arch" "$work/plugin/kubectl-gitward"
  rm -r "$work/plugin"
  for bill in "$folder"/sbom/*.cdx.json; do
    name=$(basename "$bill" .cdx.json)
    release/spdx.py "$bill" "$name-linux-$arch" >"$out/sbom-$name-linux-$arch.spdx.json"
  done
  CERTIFICATES=${CERTIFICATES:-$(release/tools/get.sh python)/certifi/cacert.pem} \
    image/rootfs.sh "$folder/gitward" "$folder/helm" "$folder/kustomize" "$work/root-$arch" "$folder"/sbom/*.cdx.json
  images+=("$arch=$work/root-$arch")
done

say "the image"
image/pack.sh "${images[0]}" "$out/gitward-image-$version.tar" "$image_name:$version" "${images[@]:1}" >&2
say "the chart and the plain manifests"
release/chart.sh "$native/helm" "$out"
release/manifests.sh "$native/helm" "$out"
say "the plugin of kubectl"
release/krew.sh "$out" >"$out/krew.yaml"
say "the provenance and the checksums"
cd "$out"
sums() { sha256sum -- *; }
sums >"$work/sums"
"$repository/release/provenance.py" "$work/sums" >provenance.json
sums >"$work/sums"
mv "$work/sums" SHA256SUMS
say "$out has $(find . -type f | wc -l) files"
