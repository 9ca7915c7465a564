#!/usr/bin/env bash
# sign.sh RELEASE: signs SHA256SUMS, and the provenance, with cosign. In the environment:
#
#   COSIGN_KEY       the key, as cosign takes it: a file, env://VARIABLE or a KMS. COSIGN_PASSWORD is asked for where it is not set.
#   COSIGN_KEYLESS   yes: as the workflow that runs (OpenID Connect), noted in the public transparency log
#
# With a key nothing is noted in a public log. Both may be set; then the provenance is signed as the workflow.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
cosign=$("$repository/release/tools/get.sh" cosign)
cd "$1"
[ -n "${COSIGN_KEY:-}" ] || [ "${COSIGN_KEYLESS:-}" = yes ] || die "set COSIGN_KEY or COSIGN_KEYLESS=yes"
rm -f -- *.sigstore.json
# sign NAME OPTION…: signs the list of files as NAME, and the provenance of it. The statement names its subjects itself.
sign() {
  local name=$1
  shift
  "$cosign" sign-blob --yes "$@" --bundle "$name" SHA256SUMS >/dev/null
  "$cosign" attest-blob --yes "$@" --bundle provenance.sigstore.json --statement provenance.json >/dev/null
}
if [ -n "${COSIGN_KEY:-}" ]; then
  say "signs with the key"
  sign SHA256SUMS.sigstore.json --key "$COSIGN_KEY" --signing-config "$repository/release/no-services.json"
fi
if [ "${COSIGN_KEYLESS:-}" = yes ]; then
  say "signs as the workflow"
  sign SHA256SUMS.keyless.sigstore.json
fi
