#!/usr/bin/env bash
# run.sh ROOT TMP COMMAND…: runs a command in a root file system as the chart's pods are run: as user 65532, without new privileges, with a
# read-only root. Only TMP, which becomes /tmp, and /var/cache/gitward can be written. A file TMP/hosts becomes /etc/hosts.
#
# Needs Linux and util-linux, and root or user namespaces. The command ends with whoever called it.
set -euo pipefail

if [ "${1:-}" != --inside ]; then
  user=()
  [ "$(id -u)" = 0 ] || user=(--user --map-root-user)
  if ! unshare "${user[@]}" --mount true; then
    echo "run.sh: no mount namespace can be had here: run it as root with CAP_SYS_ADMIN, or allow user namespaces (sysctl kernel.unprivileged_userns_clone=1 user.max_user_namespaces=15000)" >&2
    exit 1
  fi
  exec unshare "${user[@]}" --mount --pid --fork --kill-child -- "$0" --inside "$(id -u)" "$@"
fi
caller=$2 root=$(realpath "$3") tmp=$(realpath "$4")
shift 4

mount --bind "$root" "$root"
mount --bind "$tmp" "$root/tmp"
if [ -e "$tmp/hosts" ]; then
  # A runtime makes the files that it mounts on too.
  touch "$root/etc/hosts"
  mount --bind "$tmp/hosts" "$root/etc/hosts"
fi
mount -t tmpfs -o mode=1777,nosuid,nodev cache "$root/var/cache/gitward"
mount -t tmpfs -o mode=755,nosuid devices "$root/dev"
for device in null zero random urandom; do
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount -o remount,bind,ro,nosuid,nodev "$root"

# The command is no `exec`: this process keeps the signal of its caller's death (--kill-child), which the kernel takes from one that changes
# its user (prctl(2), PR_SET_PDEATHSIG), and takes all others of its namespace along.
setpriv=$(command -v setpriv) chroot=$(command -v chroot) unshare=$(command -v unshare)
export PATH=/usr/local/bin
if [ "$caller" = 0 ]; then
  "$setpriv" --no-new-privs "$chroot" --userspec=65532:65532 --groups=65532 "$root" "$@"
  exit
fi
# Only one user is mapped here: in a namespace below it has the number that it shall have.
"$setpriv" --no-new-privs "$unshare" --user --map-user=65532 --map-group=65532 --root="$root" --wd=/ "$@"
