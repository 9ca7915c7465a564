# Writes OCI image layouts (https://github.com/opencontainers/image-spec/blob/main/image-layout.md); sourced by what packs images and charts.
# Needs GNU tar and SOURCE_DATE_EPOCH.

# begin_layout FOLDER: the folder that the layout is put together in.
begin_layout() { layout=$1 && mkdir -p "$layout/blobs/sha256"; }
sum() { sha256sum "$1" | cut -d' ' -f1; }
pack_layout() { tar --create --sort=name --format=ustar --mtime="@$SOURCE_DATE_EPOCH" --numeric-owner "$@"; }
# blob FILE: moves a file into the layout, and prints its digest and size as a descriptor has them.
blob() {
  local digest size
  digest=$(sum "$1") size=$(stat --format=%s "$1")
  mv "$1" "$layout/blobs/sha256/$digest"
  printf '"digest":"sha256:%s","size":%s' "$digest" "$size"
}
# finish_layout OUT DESCRIPTORS: writes the index, and packs the layout as a tar archive.
finish_layout() {
  printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[%s]}\n' "$2" >"$layout/index.json"
  echo '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
  pack_layout --owner=0 --group=0 --directory "$layout" --file "$1" oci-layout index.json blobs
}
