#!/usr/bin/env bash
# compare.sh TARGET…: builds the release of this commit twice, in two folders, and compares the bytes. Nothing is signed, since no two signatures
# are the same. What is not committed is not built.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
commit=$(git -C "$repository" rev-parse HEAD)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for copy in "$work/one" "$work/another/and-longer/folder"; do
  say "builds in $copy"
  mkdir -p "$copy"
  git clone --quiet --no-hardlinks "$repository" "$copy"
  git -C "$copy" checkout --quiet "$commit"
  (cd "$copy" && env -u CARGO_TARGET_DIR -u COSIGN_KEY -u SOURCE_DATE_EPOCH release/dist.sh "$copy/dist" "$@")
  # The next build needs the room, and must not find anything.
  rm -rf "$copy/target"
done
if diff --brief --recursive "$work/one/dist" "$work/another/and-longer/folder/dist"; then
  cat "$work/one/dist/gitward-$version/SHA256SUMS"
  say "both builds gave the same bytes"
else
  die "the builds differ; see which files above"
fi
