#!/usr/bin/env bash
# Checks what gitward is built from: that Cargo.lock is whole, licences, versions that are there twice, where crates come from, and
# known vulnerabilities (deny.toml, .cargo/audit.toml). Says at the end what was checked and what was not.
#
# The two tools come from the first of: the PATH, the cache, a package of PyPI (checksums in requirements.txt), their source.
set -euo pipefail
cd "$(dirname "$0")/.."

advisories=https://github.com/RustSec/advisory-db
cache=${XDG_CACHE_HOME:-$HOME/.cache}/gitward/audit-$(sha256sum ci/requirements.txt | cut -c1-16)
version() { sed -nE "s/^astral-dev-toolchain-$1==([^ ]*) .*/\1/p" ci/requirements.txt; }
is_there() { [ "$("$1" --version 2>/dev/null)" = "$2 $(version "$2")" ]; }

from_package() {
  local work
  work=$(mktemp -d)
  python3 -m pip download --quiet --no-deps --require-hashes --only-binary :all: --dest "$work" --requirement ci/requirements.txt &&
    for wheel in "$work"/*.whl; do python3 -m zipfile -e "$wheel" "$work/unpacked"; done &&
    mkdir -p "$cache/bin" && chmod +x "$work"/unpacked/*/scripts/* && mv "$work"/unpacked/*/scripts/* "$cache/bin/"
  local done=$?
  rm -rf "$work"
  return $done
}

tool() {
  for candidate in "$1" "$cache/bin/$1"; do
    if is_there "$candidate" "$1"; then echo "$candidate" && return; fi
  done
  from_package >&2 || cargo install --locked --quiet --root "$cache" "$1@$(version "$1")" >&2
  echo "$cache/bin/$1"
}

cargo metadata --locked --format-version 1 >/dev/null
deny=$(tool cargo-deny)
audit=$(tool cargo-audit)
if refused=$(GIT_TERMINAL_PROMPT=0 timeout 30 git ls-remote --quiet "$advisories" HEAD 2>&1 >/dev/null); then
  "$deny" --locked check
  "$audit" audit
  echo "checked: Cargo.lock, licences, duplicates, sources, advisories (cargo deny and cargo audit)"
else
  "$deny" --locked check licenses bans sources
  echo "checked: Cargo.lock, licences, duplicates, sources"
  echo "NOT CHECKED: known vulnerabilities. $advisories cannot be reached: ${refused:-no answer within 30 s}"
fi
