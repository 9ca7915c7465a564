#!/usr/bin/env bash
# publish.sh DIST: pushes the image and the chart of a signed release to their registry, signs them there as the workflow that runs, and makes the
# release TAG with all files. Needs skopeo, gh, GH_TOKEN, REGISTRY_USER and REGISTRY_PASSWORD.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
cosign=$("$repository/release/tools/get.sh" cosign)
release=$1/gitward-$version
[ -d "$release" ] || die "there is no $release: run make dist"
[ "$TAG" = "v$version" ] || die "the tag is $TAG, and this is v$version"
registry=${image_name%%/*}
export REGISTRY_AUTH_FILE
REGISTRY_AUTH_FILE=$(mktemp)
trap 'rm -f "$REGISTRY_AUTH_FILE"' EXIT
echo "{}" >"$REGISTRY_AUTH_FILE"
skopeo login --username "$REGISTRY_USER" --password-stdin "$registry" <<<"$REGISTRY_PASSWORD"
"$cosign" login --username "$REGISTRY_USER" --password-stdin "$registry" <<<"$REGISTRY_PASSWORD"

# push ARCHIVE NAME: what a layout holds, with all architectures; then its signature, by digest.
push() {
  local digests
  digests=$(mktemp)
  say "pushes $2:$version"
  skopeo copy --all --preserve-digests --digestfile "$digests" "oci-archive:$1" "docker://$2:$version"
  "$cosign" sign --yes "$2@$(cat "$digests")"
  rm "$digests"
}
push "$release/gitward-image-$version.tar" "$image_name"
push "$release/gitward-chart-$version.tar" "${image_name%/*}/charts/gitward"

say "makes the release $TAG"
(cd "$release" && gh release create "$TAG" --repo "${source_url#https://github.com/}" --verify-tag --title "gitward $version" --generate-notes -- * "../gitward-$version-airgap.tar")
