# What the scripts of a release share; sourced. The same inputs give the same bytes: the time is that of the commit, names are sorted by
# bytes, owners and permissions are fixed, and gzip keeps no time.
export LC_ALL=C TZ=UTC
umask 022
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$repository" log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$repository/Cargo.toml")
# Where the project's releases and images are published.
source_url=${SOURCE_URL:-https://github.com/gitward/gitward}
image_name=${IMAGE_NAME:-ghcr.io/gitward/gitward}

say() { printf '%4ds  %s\n' "$SECONDS" "$*" >&2; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }
# machine: the architecture of this machine, as images name it.
machine() { arch_of "$(uname -m)"; }
# arch_of TARGET: the architecture of a Rust target, as images name it.
arch_of() {
  case $1 in
  x86_64*) echo amd64 ;;
  aarch64* | arm64) echo arm64 ;;
  *) die "no release is made for $1" ;;
  esac
}
# pack TAR-OPTION…: a tar archive that depends on names and contents alone.
pack() { tar --create --sort=name --format=ustar --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX "$@"; }
# archive FOLDER OUT: the folder as OUT, a .tar.gz or .tgz.
archive() { pack --directory "$(dirname "$1")" "$(basename "$1")" | gzip --no-name --best >"$2"; }
