#!/usr/bin/env bash
# Makes sure that the binaries of the test cluster are there, and prints the folder that holds them.
#
# Each comes from the first of: KUBEBUILDER_ASSETS, the cache, the official release (its published checksum checked), a
# build from its Go module (checksums in go.sum). The versions are those of the go.mod files beside this script.
#
# KUBERNETES=1.33.13 takes another version of Kubernetes, in a folder of its own, beside the same other tools. No go.sum is
# pinned for it: its modules are checked against the checksum database that GOSUMDB names.
set -euo pipefail
cd "$(dirname "$0")"

say() { printf '%4ds  %s\n' "$SECONDS" "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
version() { sed -nE "s|^require $1 v||p" "$2/go.mod"; }

pinned=$(version k8s.io/kubernetes kubernetes)
kubernetes=${KUBERNETES:-$pinned}
etcd=$(version go.etcd.io/etcd/server/v3 etcd)
helm=$(version helm.sh/helm/v4 helm)
kustomize=$(version sigs.k8s.io/kustomize/kustomize/v5 kustomize)
kwok=$(version sigs.k8s.io/kwok kwok)
registry=$(version github.com/distribution/distribution/v3 registry)
flux=$(version github.com/fluxcd/kustomize-controller flux)
[[ $kubernetes =~ ^1\.[0-9]+\.[0-9]+$ ]] || die "KUBERNETES is '$kubernetes', and no version such as $pinned"
case $(uname -m) in x86_64) arch=amd64 ;; aarch64 | arm64) arch=arm64 ;; *) die "no release for $(uname -m)" ;; esac
dir=${GITWARD_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/gitward/tools}/kubernetes-$kubernetes-etcd-$etcd-helm-$helm-kustomize-$kustomize-kwok-$kwok
mkdir -p "$dir"
exec 9>"$dir/.lock"
flock 9
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

names="kube-apiserver kube-controller-manager kubectl etcd helm kustomize kwok gitssh registry kustomize-controller"
# `get.sh node`: those of a real node as well.
[ "${1:-}" != node ] || names="$names kubelet kube-proxy kube-scheduler"
# The folder's name says the version of most; two say their own.
missing() {
  [ ! -x "$dir/$1" ] && return
  case $1 in
  registry) ! "$dir/$1" --version | grep -qF " v$registry" ;;
  kustomize-controller) ! grep -qaF "fluxcd/kustomize-controller@v$flux" "$dir/$1" ;;
  *) return 1 ;;
  esac
}
keep() { chmod +x "$1" && mv "$1" "$dir/$2.new" && mv "$dir/$2.new" "$dir/$2"; }

if [ "$kubernetes" != "$pinned" ]; then
  others=$(KUBERNETES='' ./get.sh)
  for name in $names; do
    case $name in kube*) ;; *) ln -sf "$others/$name" "$dir/$name" ;; esac
  done
fi

for name in $names; do
  if missing $name && [ -n "${KUBEBUILDER_ASSETS:-}" ] && [ -x "$KUBEBUILDER_ASSETS/$name" ]; then
    ln -sf "$KUBEBUILDER_ASSETS/$name" "$dir/$name"
    say "$name: from KUBEBUILDER_ASSETS"
  fi
done

fetch() { curl --fail --silent --location --connect-timeout 5 --retry 2 --output "$2" "$1"; }
# check FILE SUM: whether the file has this SHA-256.
check() { [ -n "$2" ] && echo "$2  $1" | sha256sum --check --status; }

kubernetes_url=${KUBERNETES_RELEASES:-https://dl.k8s.io}/v$kubernetes/bin/linux/$arch
etcd_url=${ETCD_RELEASES:-https://github.com/etcd-io/etcd/releases/download}/v$etcd
helm_url=${HELM_RELEASES:-https://get.helm.sh}
kustomize_url=${KUSTOMIZE_RELEASES:-https://github.com/kubernetes-sigs/kustomize/releases/download}/kustomize%2Fv$kustomize
kwok_url=${KWOK_RELEASES:-https://github.com/kubernetes-sigs/kwok/releases/download}/v$kwok

from_release() {
  case $1 in
  etcd)
    fetch "$etcd_url/etcd-v$etcd-linux-$arch.tar.gz" "$work/etcd.tgz" && fetch "$etcd_url/SHA256SUMS" "$work/sums" &&
      check "$work/etcd.tgz" "$(sed -n "s/  *etcd-v$etcd-linux-$arch.tar.gz$//p" "$work/sums")" &&
      tar -xzf "$work/etcd.tgz" -C "$work" --strip-components=1 "etcd-v$etcd-linux-$arch/etcd"
    ;;
  helm)
    fetch "$helm_url/helm-v$helm-linux-$arch.tar.gz" "$work/helm.tgz" &&
      fetch "$helm_url/helm-v$helm-linux-$arch.tar.gz.sha256sum" "$work/sums" &&
      check "$work/helm.tgz" "$(cut -d' ' -f1 "$work/sums")" &&
      tar -xzf "$work/helm.tgz" -C "$work" --strip-components=1 "linux-$arch/helm"
    ;;
  kustomize)
    fetch "$kustomize_url/kustomize_v${kustomize}_linux_$arch.tar.gz" "$work/kustomize.tgz" &&
      fetch "$kustomize_url/checksums.txt" "$work/sums" &&
      check "$work/kustomize.tgz" "$(sed -n "s/  *kustomize_v${kustomize}_linux_$arch.tar.gz$//p" "$work/sums")" &&
      tar -xzf "$work/kustomize.tgz" -C "$work" kustomize
    ;;
  # Our own, and what is only built here.
  gitssh | registry | kustomize-controller) return 1 ;;
  kwok)
    fetch "$kwok_url/kwok-linux-$arch" "$work/kwok" && fetch "$kwok_url/kwok-linux-$arch.sha256" "$work/sums" &&
      check "$work/kwok" "$(cut -d' ' -f1 "$work/sums")"
    ;;
  *)
    fetch "$kubernetes_url/$1" "$work/$1" && fetch "$kubernetes_url/$1.sha256" "$work/sums" &&
      check "$work/$1" "$(cut -d' ' -f1 "$work/sums")"
    ;;
  esac
}

# The go.mod of the pinned version for another one: k8s.io/kubernetes names its staging modules v0.0.0.
other_kubernetes() {
  local mod
  mod=$(go mod download -json "k8s.io/kubernetes@v$kubernetes" | sed -nE 's/.*"GoMod": "(.*)".*/\1/p')
  mkdir -p "$work/kubernetes"
  {
    echo "module gitward.dev/tests/cluster/tools/kubernetes"
    grep -E '^(go|godebug) ' "$mod"
    echo "require k8s.io/kubernetes v$kubernetes"
    sed -nE "/sample-/d; s|^\s*(k8s.io/[^ ]+) => \./staging/.*|replace \1 => \1 v0.${kubernetes#1.}|p" "$mod"
  } >"$work/kubernetes/go.mod"
}

from_module() {
  command -v go >/dev/null || die "$1 could not be downloaded, and there is no Go to build it: install Go (https://go.dev/dl), or set KUBEBUILDER_ASSETS to a folder that holds $1"
  local stamp=k8s.io/component-base/version
  local flags="-s -w -X $stamp.gitVersion=v$kubernetes -X $stamp.gitMajor=${kubernetes%%.*} -X $stamp.gitMinor=$(echo "$kubernetes" | cut -d. -f2)"
  local module package mod=readonly
  case $1 in
  etcd) module=etcd package=go.etcd.io/etcd/server/v3 ;;
  helm) module=helm package=helm.sh/helm/v4/cmd/helm ;;
  kustomize) module=kustomize package=sigs.k8s.io/kustomize/kustomize/v5 ;;
  gitssh) module=gitssh package=. ;;
  registry)
    module=registry package=github.com/distribution/distribution/v3/cmd/registry
    flags="-s -w -X github.com/distribution/distribution/v3/version.version=v$registry"
    ;;
  kwok) module=kwok package=sigs.k8s.io/kwok/cmd/kwok ;;
  kustomize-controller) module=flux package=github.com/fluxcd/kustomize-controller ;;
  *)
    module=kubernetes package=k8s.io/kubernetes/cmd/$1
    if [ "$kubernetes" != "$pinned" ]; then
      module=$work/kubernetes mod=mod
      [ -f "$module/go.mod" ] || other_kubernetes
    fi
    ;;
  esac
  (cd "$module" && CGO_ENABLED=0 GOFLAGS=-mod=$mod go build -trimpath -ldflags="$flags" -o "$work/$1" "$package" >&2)
}

download=yes
for name in $names; do
  missing $name || continue
  if [ $download = yes ] && command -v curl >/dev/null; then
    say "$name: downloads the release"
    if from_release $name; then
      keep "$work/$name" $name
      continue
    fi
    say "no release can be downloaded from here"
    download=no
  fi
  say "$name: builds it from its Go module; the first takes some minutes"
  from_module $name
  keep "$work/$name" $name
done
say "the tools are in $dir"
echo "$dir"
