#!/usr/bin/env bash
# airgap.sh RELEASE: packs the files of a release, with its signatures, into one archive beside it, RELEASE-airgap.tar.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
release=$(cd "$1" && pwd)
pack --directory "$(dirname "$release")" --file "$release-airgap.tar" "$(basename "$release")"
say "$release-airgap.tar has $(du --apparent-size --human-readable "$release-airgap.tar" | cut -f1)"
