#!/usr/bin/env bash
# pack.sh ROOT OUT NAME:TAG: packs a root file system as an image, a tar of the OCI layout that `ctr images import`, `podman load` and `skopeo`
# read. The same root and commit give the same bytes. Needs GNU tar and gzip. ENTRYPOINT is another program than gitward.
set -euo pipefail
root=$1 out=$2 reference=$3 entrypoint=${ENTRYPOINT:-/usr/local/bin/gitward}
here=$(cd "$(dirname "$0")" && pwd)
# The time of everything in it: that of the commit.
time=${SOURCE_DATE_EPOCH:-$(git -C "$here" log -1 --format=%ct 2>/dev/null || echo 0)}
revision=$(git -C "$here" rev-parse HEAD 2>/dev/null || echo unknown)
case $(uname -m) in x86_64) arch=amd64 ;; aarch64) arch=arm64 ;; *) echo "pack.sh: no image for $(uname -m)" >&2; exit 1 ;; esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/blobs/sha256"

pack() { tar --create --sort=name --format=ustar --mtime="@$time" --numeric-owner "$@"; }
sum() { sha256sum "$1" | cut -d' ' -f1; }
# blob FILE: keeps a file under its digest, and prints the digest and the size as a descriptor has them.
blob() {
  local digest size
  digest=$(sum "$1") size=$(stat --format=%s "$1")
  mv "$1" "$work/blobs/sha256/$digest"
  printf '"digest":"sha256:%s","size":%s' "$digest" "$size"
}

# Everything is root's but the cache: files first, so that whoever packs need not be root.
pack --owner=0 --group=0 --exclude=./var/cache/gitward --directory "$root" --file "$work/layer.tar" .
if [ -d "$root/var/cache/gitward" ]; then
  pack --owner=65532 --group=65532 --directory "$root" --file "$work/cache.tar" ./var/cache/gitward
  tar --concatenate --file "$work/layer.tar" "$work/cache.tar"
fi
layer=$(sum "$work/layer.tar")
gzip --no-name "$work/layer.tar"
layer_blob=$(blob "$work/layer.tar.gz")

created=$(date --utc --date="@$time" +%Y-%m-%dT%H:%M:%SZ)
cat >"$work/config" <<END
{"architecture":"$arch","os":"linux","created":"$created","config":{"User":"65532:65532","Entrypoint":["$entrypoint"],"Env":["PATH=/usr/local/bin"],"WorkingDir":"/","Labels":{"org.opencontainers.image.title":"gitward","org.opencontainers.image.licenses":"Apache-2.0","org.opencontainers.image.revision":"$revision"}},"rootfs":{"type":"layers","diff_ids":["sha256:$layer"]},"history":[{"created":"$created","created_by":"image/rootfs.sh"}]}
END
config_blob=$(blob "$work/config")
cat >"$work/manifest" <<END
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json",$config_blob},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip",$layer_blob}]}
END
manifest=$(sum "$work/manifest")
manifest_blob=$(blob "$work/manifest")
cat >"$work/index.json" <<END
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json",$manifest_blob,"platform":{"architecture":"$arch","os":"linux"},"annotations":{"io.containerd.image.name":"$reference","org.opencontainers.image.ref.name":"${reference##*:}"}}]}
END
echo '{"imageLayoutVersion":"1.0.0"}' >"$work/oci-layout"
rm -f "$work"/*.tar
pack --owner=0 --group=0 --directory "$work" --file "$out" oci-layout index.json blobs
echo "$reference  sha256:$manifest  $(du --apparent-size --human-readable "$out" | cut -f1)  $out"
