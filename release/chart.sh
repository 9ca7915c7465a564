#!/usr/bin/env bash
# chart.sh HELM OUT: packages the chart as OUT/gitward-VERSION.tgz, and as the artifact that `helm push` would store in a registry,
# OUT/gitward-chart-VERSION.tar (OCI layout).
set -euo pipefail
source "$(dirname "$0")/lib.sh"
source "$repository/image/layout.sh"
helm=$1 out=$(cd "$2" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Helm writes the times of this machine's files: the archive is packed once more.
"$helm" package "$repository/charts/gitward" --destination "$work" >/dev/null
mkdir "$work/unpacked"
tar -xzf "$work/gitward-$version.tgz" -C "$work/unpacked"
archive "$work/unpacked/gitward" "$out/gitward-$version.tgz"

# A chart's configuration is its Chart.yaml as JSON: a template of helm prints it.
mkdir -p "$work/metadata/templates"
cp "$work/unpacked/gitward/Chart.yaml" "$work/metadata/"
echo '{{ .Chart | toJson }}' >"$work/metadata/templates/chart.yaml"
begin_layout "$work/layout"
annotations=$("$helm" template metadata "$work/metadata" --kube-version 1.33.0 | sed '/^---$/d; /^# Source/d' | "$repository/release/chart.py" "$work/config")
config=$(blob "$work/config")
cp "$out/gitward-$version.tgz" "$work/chart"
layer=$(blob "$work/chart")
cat >"$work/manifest" <<END
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.cncf.helm.config.v1+json",$config},"layers":[{"mediaType":"application/vnd.cncf.helm.chart.content.v1.tar+gzip",$layer}],"annotations":$annotations}
END
manifest=$(blob "$work/manifest")
finish_layout "$out/gitward-chart-$version.tar" "{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",$manifest,\"annotations\":{\"org.opencontainers.image.ref.name\":\"$version\"}}"
