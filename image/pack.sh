#!/usr/bin/env bash
# pack.sh ROOT OUT NAME:TAG [ROOT…]: packs a root file system as an image, a tar of the OCI layout that `ctr images import`, `podman load` and
# `skopeo` read. Each ROOT is a folder, of this machine's architecture, or ARCH=FOLDER; several make one image for several architectures. The same
# roots and commit give the same bytes. Needs GNU tar and gzip. ENTRYPOINT is another program than gitward.
set -euo pipefail
out=$2 reference=$3 entrypoint=${ENTRYPOINT:-/usr/local/bin/gitward}
roots=("$1" "${@:4}")
here=$(cd "$(dirname "$0")" && pwd)
source "$here/layout.sh"
# The time of everything in it: that of the commit.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$here" log -1 --format=%ct 2>/dev/null || echo 0)}
created=$(date --utc --date="@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)
revision=$(git -C "$here" rev-parse HEAD 2>/dev/null || echo unknown)
case $(uname -m) in x86_64) machine=amd64 ;; aarch64) machine=arm64 ;; *) echo "pack.sh: no image for $(uname -m)" >&2; exit 1 ;; esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
begin_layout "$work/layout"

# image ARCH FOLDER: adds an image to the layout, and prints its descriptor without the closing brace.
image() {
  local arch=$1 root=$2 diff layer config manifest
  # Everything is root's but the cache: files first, so that whoever packs need not be root.
  pack_layout --owner=0 --group=0 --exclude=./var/cache/gitward --directory "$root" --file "$work/layer.tar" .
  if [ -d "$root/var/cache/gitward" ]; then
    pack_layout --owner=65532 --group=65532 --directory "$root" --file "$work/cache.tar" ./var/cache/gitward
    tar --concatenate --file "$work/layer.tar" "$work/cache.tar"
  fi
  diff=$(sum "$work/layer.tar")
  gzip --no-name "$work/layer.tar"
  layer=$(blob "$work/layer.tar.gz")
  cat >"$work/config" <<END
{"architecture":"$arch","os":"linux","created":"$created","config":{"User":"65532:65532","Entrypoint":["$entrypoint"],"Env":["PATH=/usr/local/bin"],"WorkingDir":"/","Labels":{"org.opencontainers.image.title":"gitward","org.opencontainers.image.licenses":"Apache-2.0","org.opencontainers.image.revision":"$revision"}},"rootfs":{"type":"layers","diff_ids":["sha256:$diff"]},"history":[{"created":"$created","created_by":"image/rootfs.sh"}]}
END
  config=$(blob "$work/config")
  cat >"$work/manifest" <<END
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json",$config},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip",$layer}]}
END
  manifest=$(blob "$work/manifest")
  printf '{"mediaType":"application/vnd.oci.image.manifest.v1+json",%s,"platform":{"architecture":"%s","os":"linux"}' "$manifest" "$arch"
}

images=()
for root in "${roots[@]}"; do
  case $root in
  amd64=* | arm64=*) images+=("$(image "${root%%=*}" "${root#*=}")") ;;
  *) images+=("$(image "$machine" "$root")") ;;
  esac
done
names="\"annotations\":{\"io.containerd.image.name\":\"$reference\",\"org.opencontainers.image.ref.name\":\"${reference##*:}\"}"
if [ ${#images[@]} = 1 ]; then
  descriptor="${images[0]},$names}"
else
  # A reader finds one thing by the name: an index of the images.
  printf -v manifests '%s},' "${images[@]}"
  printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[%s]}\n' "${manifests%,}" >"$work/index"
  descriptor="{\"mediaType\":\"application/vnd.oci.image.index.v1+json\",$(blob "$work/index"),$names}"
fi
finish_layout "$out" "$descriptor"
digest=${descriptor#*\"digest\":\"}
echo "$reference  ${digest%%\"*}  $(du --apparent-size --human-readable "$out" | cut -f1)  $out"
