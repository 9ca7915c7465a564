#!/usr/bin/env bash
# build.sh TARGET DEST: builds gitward for a Rust target as a static program, and keeps it as DEST/gitward.
#
# Targets of musl are compiled and linked by zig (cargo-zigbuild), for whatever machine; those of glibc by this machine's own compiler. Where the
# work tree lies does not show in the program: OpenSSL keeps the paths and options that it was compiled with, so that a copy of the work tree is built,
# always in the same folder. PROFILE=dev builds faster.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
target=$1 dest=$2 profile=${PROFILE:-release}
mkdir -p "$dest"
dest=$(cd "$dest" && pwd)
cd "$repository"
[ -d "$(rustc --print target-libdir --target "$target" 2>/dev/null)" ] || die "Rust's standard library for $target is not here: rustup target add $target"

cargo_home=${CARGO_HOME:-$HOME/.cargo}
# Nobody else's, and nothing of an earlier build.
place=/var/tmp/gitward-release-build
rm -rf "$place"
mkdir -m 700 "$place" || die "$place has to be free: it is where releases are built, so that their paths are the same"
trap 'rm -rf "$place"' EXIT
git ls-files -z | tar --create --null --files-from - | tar --extract --directory "$place"
target_dir=$place/target
export CARGO_TARGET_DIR=$target_dir
separator=$(printf '\037')
flags="--remap-path-prefix=$place=/gitward$separator--remap-path-prefix=$cargo_home=/cargo${separator}-Ctarget-feature=+crt-static"
# C code names its files in messages.
maps="-ffile-prefix-map=$place=/gitward -ffile-prefix-map=$cargo_home=/cargo"
command=build
case $target in
*-linux-musl)
  python=$(release/tools/get.sh python)
  export PATH=$python/bin:$PATH CARGO_ZIGBUILD_ZIG_PATH=$python/ziglang/zig
  command=zigbuild
  ;;
esac
cd "$place"
env -u RUSTFLAGS CARGO_ENCODED_RUSTFLAGS="$flags" CFLAGS="$maps" cargo "$command" --quiet --locked --bin gitward --profile "$profile" --target "$target"

folder=$profile
[ "$profile" != dev ] || folder=debug
built=$target_dir/$target/$folder/gitward
if readelf --program-headers "$built" | grep -q INTERP; then die "$built is not static: it asks for a loader"; fi
install -m 755 "$built" "$dest/gitward"
[ "$profile" = release ] || strip "$dest/gitward"
