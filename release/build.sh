#!/usr/bin/env bash
# build.sh TARGET DEST: builds gitward for a Rust target as a static program, and keeps it as DEST/gitward.
#
# Targets of musl are compiled and linked by zig (cargo-zigbuild), for whatever machine; those of glibc by this machine's own compiler. Where the
# work tree lies does not show in the program. PROFILE=dev builds faster.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
target=$1 dest=$2 profile=${PROFILE:-release}
mkdir -p "$dest"
dest=$(cd "$dest" && pwd)
cd "$repository"
[ -d "$(rustc --print target-libdir --target "$target" 2>/dev/null)" ] || die "Rust's standard library for $target is not here: rustup target add $target"

cargo_home=${CARGO_HOME:-$HOME/.cargo}
target_dir=${CARGO_TARGET_DIR:-$repository/target}
separator=$(printf '\037')
flags="--remap-path-prefix=$repository=/gitward$separator--remap-path-prefix=$cargo_home=/cargo${separator}-Ctarget-feature=+crt-static"
# C code names its files in messages.
maps="-ffile-prefix-map=$target_dir=/target -ffile-prefix-map=$repository=/gitward -ffile-prefix-map=$cargo_home=/cargo"
command=build
case $target in
*-linux-musl)
  python=$(release/tools/get.sh python)
  export PATH=$python/bin:$PATH CARGO_ZIGBUILD_ZIG_PATH=$python/ziglang/zig
  command=zigbuild
  ;;
esac
env -u RUSTFLAGS CARGO_ENCODED_RUSTFLAGS="$flags" CFLAGS="$maps" cargo "$command" --quiet --locked --bin gitward --profile "$profile" --target "$target"

folder=$profile
[ "$profile" != dev ] || folder=debug
built=$target_dir/$target/$folder/gitward
if readelf --program-headers "$built" | grep -q INTERP; then die "$built is not static: it asks for a loader"; fi
install -m 755 "$built" "$dest/gitward"
[ "$profile" = release ] || strip "$dest/gitward"
