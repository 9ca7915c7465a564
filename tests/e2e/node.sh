#!/usr/bin/env bash
# node.sh COMMAND…: runs a command beside a real one-node Kubernetes: kubelet, containerd, kube-proxy and a control plane (parts.sh starts them).
# node.sh --check:  says why it could not run here, in one line each; says nothing where it can.
#
# Everything lives in namespaces of its own (mounts, processes, network), as a node in a container does: whatever becomes of the command, what was
# mounted, linked, filtered and started is gone with them. Outside there are a folder and a cgroup for as long as it runs.
#
# The command is given GITWARD_NODE, the node's folder: logs in log/, <user>.kubeconfig for admin and dev. `tests/e2e/node.sh bash` is for looking around.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

# The packages are Debian's names.
check() {
  local missing=""
  [ "$(uname -s)" = Linux ] || { echo "a node needs Linux"; return; }
  [ "$(id -u)" = 0 ] || { echo "a node needs root: sudo make e2e"; return; }
  need() { command -v "$1" >/dev/null || missing="$missing $2"; }
  need containerd containerd; need ctr containerd; need runc runc; need nft nftables; need ip iproute2; need openssl openssl; need gcc gcc; need strip binutils; need setpriv util-linux
  [ -x /usr/lib/cni/bridge ] || [ -x /opt/cni/bin/bridge ] || missing="$missing containernetworking-plugins"
  if [ -n "$missing" ]; then
    echo "programs are missing: apt-get install --no-install-recommends$(printf '%s\n' $missing | sort -u | sed 's/^/ /' | tr -d '\n')"
    return
  fi
  unshare --mount --pid --fork --net true 2>/dev/null || { echo "namespaces cannot be made: root without CAP_SYS_ADMIN?"; return; }
  unshare --mount sh -c 'mount -t tmpfs t /mnt && mkdir /mnt/l /mnt/u /mnt/w /mnt/m && mount -t overlay -o lowerdir=/mnt/l,upperdir=/mnt/u,workdir=/mnt/w o /mnt/m' 2>/dev/null ||
    echo "the kernel has no overlay file system"
  unshare --net sh -c 'ip link add name bridge0 type bridge && ip link add name veth0 type veth peer name veth1' 2>/dev/null || echo "the kernel has no bridges or no veth pairs"
  unshare --net nft 'add table ip t; add chain ip t c { type nat hook prerouting priority 0; }; add rule ip t c ct state new masquerade random' 2>/dev/null ||
    unshare --net nft 'add table ip t; add chain ip t c { type nat hook postrouting priority 0; }; add rule ip t c ct state new masquerade' 2>/dev/null ||
    echo "the kernel has no nftables with NAT"
}

case ${1:-} in
"") echo "usage: node.sh COMMAND… | node.sh --check" >&2; exit 2 ;;
--check)
  why=$(check)
  [ -z "$why" ] || { echo "$why"; exit 1; }
  exit 0
  ;;
--inside)
  shift
  # What programs write outside of the node's folder stays in here.
  mount -t tmpfs -o mode=755 run /run
  mkdir -p /run/outside/upper /run/outside/work
  mount -t overlay -o lowerdir=/var,upperdir=/run/outside/upper,workdir=/run/outside/work var /var
  # kubelet sets these for the whole machine; here it sets copies.
  for setting in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
    mkdir -p "/run/sysctl/${setting%/*}"
    cat "/proc/sys/$setting" >"/run/sysctl/$setting"
    mount --bind "/run/sysctl/$setting" "/proc/sys/$setting"
  done
  ip link set lo up
  "$here/parts.sh" configure
  "$here/parts.sh" start
  status=0
  "$@" || status=$?
  "$here/parts.sh" stop
  exit $status
  ;;
esac

why=$(check)
[ -z "$why" ] || { printf 'no node can run here: %s\n' "$why" >&2; exit 1; }

tools=$("$here/../cluster/tools/get.sh" node)
GITWARD_NODE=$(mktemp --directory --tmpdir gitward-node-XXXXXX)
export GITWARD_NODE PATH=$tools:$PATH
# Everything below holds it, so that a folder without its node can be told.
exec 9>"$GITWARD_NODE/lock"
flock 9

# remove FOLDER: what a node leaves outside of its namespaces. cgroups have none that would take them along.
remove() {
  local status=0
  GITWARD_NODE=$1 "$here/parts.sh" sweep || status=1
  [ "${KEEP:-0}" != 0 ] || rm -rf --one-file-system "$1"
  ! grep -F "$1" /proc/mounts >&2 || status=1
  return $status
}
end() {
  local status=$?
  trap '' INT TERM HUP
  remove "$GITWARD_NODE" || status=1
  [ "${KEEP:-0}" = 0 ] || { touch "$GITWARD_NODE/kept"; echo "kept: $GITWARD_NODE" >&2; }
  exit $status
}
trap end EXIT
# Ctrl-C reaches the command as well, which ends by it.
trap : INT TERM HUP
# What a node left that was killed with its node.sh.
for folder in "${GITWARD_NODE%-*}"-*; do
  [ "$folder" = "$GITWARD_NODE" ] || [ -e "$folder/kept" ] || [ ! -e "$folder/lock" ] || ! flock --nonblock "$folder/lock" true || KEEP=0 remove "$folder" || true
done
# Whatever ends this ends the namespaces, and so everything in them.
setpriv --pdeathsig KILL unshare --mount --pid --fork --net --kill-child --mount-proc -- "$0" --inside "$@"
