#!/usr/bin/env bash
# parts.sh configure | start | crash | stop | sweep | images TAR…: the parts of the node in $GITWARD_NODE, within the namespaces that node.sh makes.
#
# `crash` is a power failure: every process of the node and of its pods is killed, and what does not outlive a boot is gone. `start` brings up what
# the disk has kept.
set -euo pipefail
node=${GITWARD_NODE:?run it by node.sh}
here=$(cd "$(dirname "$0")" && pwd)
# The node is where its pods find it: on the bridge.
address=10.244.0.1
services=10.96.0.0/16
cgroup=/${node##*/}
cni=/usr/lib/cni
[ -x $cni/bridge ] || cni=/opt/cni/bin
export KUBECONFIG=$node/admin.kubeconfig HOME=$node
cd /

run() { local name=$1; shift; setsid "$@" >>"$node/log/$name.log" 2>&1 </dev/null & echo $! >"$node/pid/$name"; }
alive() { kill -0 "$(cat "$node/pid/$1")" 2>/dev/null; }
# until_ok PART COMMAND…: tries until the command succeeds, as long as the part lives.
until_ok() {
  local part=$1
  shift
  until "$@" >/dev/null 2>&1; do
    alive "$part" || { echo "$part has ended:" >&2; tail -n 15 "$node/log/$part.log" >&2; exit 1; }
    sleep 0.2
  done
}

configure() {
  mkdir -p "$node"/{pki,cni,log,pid,kubelet,images}
  pki
  local user
  : >"$node/pki/tokens.csv"
  user admin system:masters
  user dev developers
  user system:kube-controller-manager ""
  user system:kube-scheduler ""
  user system:kube-proxy ""
  user system:node:node system:nodes
  cat >"$node/cni/bridge.conflist" <<END
{"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true, "ipam":
  {"type": "host-local", "dataDir": "/run/ipam", "ranges": [[{"subnet": "10.244.0.0/24", "rangeStart": "10.244.0.10"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
END
  cat >"$node/containerd.toml" <<END
version = 2
root = "$node/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "$node/containerd-opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  # Not everybody who is root here may make a process less likely to be killed.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$cni"
    conf_dir = "$node/cni"
END
  cat >"$node/kubelet.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $address
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $node/pki/ca.crt}}
authorization: {mode: Webhook}
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: $cgroup
failCgroupV1: false
failSwapOn: false
# A disk that is full by percentages, as those of developers are, is no reason to evict anything.
evictionHard: {memory.available: 100Mi, nodefs.available: 1Gi, imagefs.available: 1Gi}
imageGCHighThresholdPercent: 100
makeIPTablesUtilChains: false
oomScoreAdj: 0
maxOpenFiles: 20000
resolvConf: ""
clusterDomain: cluster.local
clusterDNS: [$address]
podLogsDir: $node/pod-logs
volumePluginDir: $node/kubelet/volume-plugins
END
  cat >"$node/kube-proxy.yaml" <<END
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {kubeconfig: $node/system-kube-proxy.kubeconfig}
clusterCIDR: 10.244.0.0/24
hostnameOverride: node
oomScoreAdj: 0
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
END
  mkdir -p "$node/pause"
  gcc -static -Os -s -o "$node/pause/pause" "$here/pause.c"
  ENTRYPOINT=/pause "$here/../../image/pack.sh" "$node/pause" "$node/images/pause.tar" localhost/pause:1 >/dev/null
}

pki() (
  cd "$node/pki"
  openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 30 -subj /CN=node 2>/dev/null
  sign() {
    openssl req -newkey rsa:2048 -nodes -keyout "$1.key" -out "$1.csr" -subj "$2" 2>/dev/null
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -out "$1.crt" -extfile <(echo "$3") 2>/dev/null
  }
  sign server /CN=kube-apiserver "subjectAltName=IP:$address,IP:10.96.0.1,DNS:kubernetes.default.svc"
  sign kubelet-client /O=system:masters/CN=kube-apiserver extendedKeyUsage=clientAuth
  openssl genrsa -out accounts.key 2048 2>/dev/null
  openssl rsa -in accounts.key -pubout -out accounts.pub 2>/dev/null
)

# user NAME GROUP: a token, and a kubeconfig with it.
user() {
  local token
  token=$(openssl rand -hex 16)
  echo "$token,$1,$1,\"$2\"" >>"$node/pki/tokens.csv"
  cat >"$node/${1//:/-}.kubeconfig" <<END
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://$address:6443", certificate-authority: $node/pki/ca.crt}}]
users: [{name: u, user: {token: "$token"}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
END
}

start() {
  local trees tree
  mkdir -p /run/containerd
  # As a boot: addresses and filters are made anew.
  ip link add cni0 type bridge
  ip address add $address/24 dev cni0
  ip link set cni0 up
  # Where there is no way to an address, nobody looks at what kube-proxy makes of it.
  ip route add $services dev cni0
  echo 1 >/proc/sys/net/ipv4/ip_forward
  trees=/sys/fs/cgroup
  [ -e $trees/cgroup.controllers ] || trees=$(find /sys/fs/cgroup -mindepth 1 -maxdepth 1 -type d)
  for tree in $trees; do mkdir -p "$tree$cgroup"; done

  run etcd etcd --data-dir="$node/etcd" --unsafe-no-fsync --log-level=warn
  run containerd containerd --config "$node/containerd.toml"
  run kube-apiserver kube-apiserver --etcd-servers=http://127.0.0.1:2379 --bind-address=$address --secure-port=6443 --service-cluster-ip-range=$services \
    --allow-privileged=true --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --token-auth-file="$node/pki/tokens.csv" \
    --client-ca-file="$node/pki/ca.crt" --tls-cert-file="$node/pki/server.crt" --tls-private-key-file="$node/pki/server.key" --cert-dir=/run/kube-apiserver \
    --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$node/pki/accounts.pub" \
    --service-account-signing-key-file="$node/pki/accounts.key" --kubelet-client-certificate="$node/pki/kubelet-client.crt" \
    --kubelet-client-key="$node/pki/kubelet-client.key" --kubelet-preferred-address-types=InternalIP
  until_ok kube-apiserver kubectl get --raw /readyz
  run kube-controller-manager kube-controller-manager --kubeconfig="$node/system-kube-controller-manager.kubeconfig" --use-service-account-credentials \
    --service-account-private-key-file="$node/pki/accounts.key" --root-ca-file="$node/pki/ca.crt" --leader-elect=false --bind-address=127.0.0.1 \
    --cert-dir=/run/kube-controller-manager --flex-volume-plugin-dir="$node/kubelet/volume-plugins"
  run kube-scheduler kube-scheduler --kubeconfig="$node/system-kube-scheduler.kubeconfig" --leader-elect=false --bind-address=127.0.0.1
  until_ok containerd ctr version
  images "$node"/images/*.tar
  run kubelet kubelet --config="$node/kubelet.yaml" --kubeconfig="$node/system-node-node.kubeconfig" --root-dir="$node/kubelet" \
    --cert-dir="$node/kubelet/pki" --hostname-override=node --node-ip=$address
  run kube-proxy kube-proxy --config="$node/kube-proxy.yaml"
  until_ok kubelet kubectl wait node/node --for=condition=Ready --timeout=1s
  until_ok kube-controller-manager kubectl get serviceaccount default
}

# Images that are there already stay as they are.
images() { local tar; for tar; do ctr --namespace k8s.io images import "$tar" >/dev/null; done; }

# Those of pods, by their cgroup, and those that hold them.
pods() { grep --files-with-matches --no-messages "$cgroup/" /proc/[0-9]*/cgroup | cut -d/ -f3; pgrep -f '^/usr/bin/containerd-shim' || true; }

# Ends what the cgroups keep, and removes them. runc freezes a container while it changes it, and what is frozen cannot end.
# Version 1 has a tree for each controller.
sweep() {
  local trees tree file n
  for n in 1 2 3 4 5 6 7 8 9 10; do
    trees=$(find /sys/fs/cgroup -maxdepth 2 -type d -name "${cgroup#/}")
    [ -n "$trees" ] || return 0
    for tree in $trees; do
      find "$tree" -name freezer.state -o -name cgroup.freeze | while read -r file; do
        case $file in */freezer.state) echo THAWED >"$file" ;; *) echo 0 >"$file" ;; esac
      done
      find "$tree" -depth -type d -exec rmdir {} \;
    done 2>/dev/null || true
    sleep 0.5
  done
  echo "left behind: $trees" >&2
  return 1
}

crash() {
  local part pid
  for part in kubelet kube-proxy containerd kube-scheduler kube-controller-manager kube-apiserver etcd; do
    [ ! -e "$node/pid/$part" ] || kill -9 "$(cat "$node/pid/$part")" 2>/dev/null || true
  done
  for pid in $(pods); do kill -9 "$pid" 2>/dev/null || true; done
  sweep
  # What does not outlive a boot: mounts, interfaces, filters, /run.
  awk -v node="$node/" 'index($2, node) == 1 || index($2, "/run/containerd/") == 1 || index($2, "/run/netns/") == 1 { print $2 }' /proc/mounts | tac |
    while read -r mount; do umount --lazy "$mount"; done
  rm -rf /run/containerd /run/netns /run/ipam /run/kube-apiserver /run/kube-controller-manager "$node"/pid/*
  ip link delete cni0
  nft flush ruleset
}

# The namespaces take everything along; etcd and the pods are only asked first.
stop() { for part in "$node"/pid/*; do kill "$(cat "$part")" 2>/dev/null || true; done; }

"$@"
