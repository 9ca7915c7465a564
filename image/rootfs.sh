#!/usr/bin/env bash
# rootfs.sh PROGRAM HELM KUSTOMIZE DEST [SBOM…]: puts the image's root file system together in DEST, which must not exist.
#
# The programs, the shared libraries that PROGRAM names, the certificates of public authorities, names for the user, and nothing else:
# no shell, no package manager. glibc 2.34 and newer look names up by themselves. What scanners read is kept as distroless images keep
# it: the entries of Debian's packages, their licences, and the bills of material.
#
# CERTIFICATES names a file of certificates: then PROGRAM has to be static, and nothing of this machine goes in.
set -euo pipefail

[ $# -ge 4 ] || { echo "usage: rootfs.sh PROGRAM HELM KUSTOMIZE DEST [SBOM…]" >&2; exit 2; }
program=$1 helm=$2 kustomize=$3 root=$4
shift 4
[ ! -e "$root" ] || { echo "rootfs.sh: $root exists" >&2; exit 1; }
umask 022
mkdir -p "$root"/{dev,proc,sys,etc/ssl/certs,usr/local/bin,usr/share/sbom,var/cache/gitward,var/lib/dpkg/status.d}
mkdir -m 1777 "$root/tmp"
# Where it is no volume, the cache is the user's (65532), whose folder only its owner can be given.
[ "$(id -u)" != 0 ] || chown 65532:65532 "$root/var/cache/gitward"

install -m 755 "$program" "$root/usr/local/bin/gitward"
install -m 755 "$helm" "$root/usr/local/bin/helm"
install -m 755 "$kustomize" "$root/usr/local/bin/kustomize"
[ $# = 0 ] || install -m 644 "$@" "$root/usr/share/sbom/"

cat >"$root/etc/passwd" <<END
root:x:0:0:root:/:/sbin/nologin
nonroot:x:65532:65532:nonroot:/tmp:/sbin/nologin
END
cat >"$root/etc/group" <<END
root:x:0:
nonroot:x:65532:
END
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
certificates=$root/etc/ssl/certs/ca-certificates.crt
if [ -n "${CERTIFICATES:-}" ]; then
  install -m 644 "$CERTIFICATES" "$certificates"
  ! readelf --program-headers "$program" | grep -q INTERP || { echo "rootfs.sh: $program is not static" >&2; exit 1; }
  exit
fi
install -m 644 /etc/os-release "$root/etc/os-release"
install -m 644 /etc/ssl/certs/ca-certificates.crt "$certificates"

# package NAME: keeps the package's entry of Debian's database, and its licence. On other systems there is nothing to keep.
package() {
  dpkg-query --status "$1" >"$root/var/lib/dpkg/status.d/$1" || return
  install -D -m 644 "/usr/share/doc/$1/copyright" "$root/usr/share/doc/$1/copyright"
}
# owner FILE: the package that holds it; it knows the file below / or below /usr, whichever it came with.
owner() { dpkg-query --search "$1" "/usr$1" 2>/dev/null | head -n 1 | cut -d: -f1; }
debian=$(command -v dpkg-query || true)
[ -z "$debian" ] || package ca-certificates

# ldd prints the path of the loader, and of each library as it was found.
for library in $(ldd "$program" | grep --only-matching --extended-regexp '/[^ ]+'); do
  install -D -m 755 "$library" "$root$library"
  [ -z "$debian" ] || package "$(owner "$library")"
done
