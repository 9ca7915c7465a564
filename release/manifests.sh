#!/usr/bin/env bash
# manifests.sh HELM OUT [HELM-OPTION…]: gitward without Helm, as OUT/crds.yaml and OUT/gitward.yaml. The namespace and the definitions stay when
# gitward goes, so they are a file of their own.
set -euo pipefail
helm=$1 out=$2
shift 2
chart=$(dirname "$0")/../charts/gitward
mkdir -p "$out"
{
  printf 'apiVersion: v1\nkind: Namespace\nmetadata:\n  name: gitward-system\n  labels: {pod-security.kubernetes.io/enforce: restricted}\n'
  cat "$chart/crds/gitward.yaml"
} >"$out/crds.yaml"
"$helm" template gitward "$chart" -n gitward-system --skip-tests "$@" >"$out/gitward.yaml"
