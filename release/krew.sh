#!/usr/bin/env bash
# krew.sh RELEASE: prints the manifest by which krew installs the plugin of kubectl from a release
# (https://krew.sigs.k8s.io/docs/developer-guide/plugin-manifest/).
set -euo pipefail
source "$(dirname "$0")/lib.sh"
cat <<END
apiVersion: krew.googlecontainertools.github.com/v1alpha2
kind: Plugin
metadata:
  name: gitward
spec:
  version: v$version
  homepage: $source_url
  shortDescription: See what gitward keeps as git declares it
  description: |
    Shows what a commit would change in the cluster, who could change
    git-declared objects around the guard, and disables or enables the guard.
  platforms:
END
for file in "$1"/kubectl-gitward-"$version"-linux-*.tar.gz; do
  name=$(basename "$file" .tar.gz)
  cat <<END
  - selector:
      matchLabels: {os: linux, arch: ${name##*-}}
    uri: $source_url/releases/download/v$version/$name.tar.gz
    sha256: $(sha256sum "$file" | cut -d' ' -f1)
    bin: kubectl-gitward
    files:
    - {from: $name/kubectl-gitward, to: .}
    - {from: $name/LICENSE, to: .}
END
done
