#!/usr/bin/env bash
# Makes sure that programs of the test cluster are there, and prints the folder that holds them.
#
#   get.sh              all that `make test` needs
#   get.sh demo         what `make demo` needs
#   get.sh node         all that `make e2e` needs
#   get.sh NAME...      these alone, such as kwok
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

demo="kube-apiserver kube-controller-manager kubectl etcd helm"
all="$demo kustomize kwok gitssh registry kustomize-controller"
case ${1:-} in
demo) names=$demo ;;
'') names=$all ;;
node) names="$all kubelet kube-proxy kube-scheduler" ;;
*) names=$* ;;
esac

exec 9>"$dir/.lock"
flock 9
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

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
# Which of the names are still missing, on one line.
still_missing() {
  local name
  for name in $names; do ! missing "$name" || printf '%s ' "$name"; done
}
has_no_release() { case $1 in gitssh | kustomize-controller) return 0 ;; *) return 1 ;; esac; }

if [ "$kubernetes" != "$pinned" ]; then
  others=$(KUBERNETES='' ./get.sh)
  for name in $names; do
    case $name in kube*) ;; *) ln -sf "$others/$name" "$dir/$name" ;; esac
  done
fi

for name in $(still_missing); do
  if [ -n "${KUBEBUILDER_ASSETS:-}" ] && [ -x "$KUBEBUILDER_ASSETS/$name" ]; then
    ln -sf "$KUBEBUILDER_ASSETS/$name" "$dir/$name"
    say "$name: from KUBEBUILDER_ASSETS"
  fi
done

# Said before anything is downloaded: nobody shall wait first.
if ! command -v go >/dev/null; then
  for name in $(still_missing); do
    ! has_no_release "$name" || die "$name has no release to download, and there is no Go to build it: install Go (https://go.dev/dl). \`make demo\` needs no Go"
  done
fi

fetch() { curl --fail --silent --location --connect-timeout 5 --retry 2 --output "$2" "$1"; }
# check FILE SUM: whether the file has this SHA-256.
check() { [ -n "$2" ] && echo "$2  $1" | sha256sum --check --status 2>/dev/null; }
# tarball URL-OF-ARCHIVE FILE-WITH-THE-SUM MEMBER STRIP: one member of an archive, checked.
tarball() {
  local at archive=${1##*/}
  at=$(mktemp -d -p "$work")
  fetch "$1" "$at/archive" && fetch "$2" "$at/sums" &&
    check "$at/archive" "$(awk -v name="$archive" '$2 == name || $2 == "*" name || NF == 1 { print $1; exit }' "$at/sums")" &&
    tar -xzf "$at/archive" -C "$work" --strip-components="$4" "$3"
}

kubernetes_url=${KUBERNETES_RELEASES:-https://dl.k8s.io}/v$kubernetes/bin/linux/$arch
etcd_url=${ETCD_RELEASES:-https://github.com/etcd-io/etcd/releases/download}/v$etcd
helm_url=${HELM_RELEASES:-https://get.helm.sh}
kustomize_url=${KUSTOMIZE_RELEASES:-https://github.com/kubernetes-sigs/kustomize/releases/download}/kustomize%2Fv$kustomize
kwok_url=${KWOK_RELEASES:-https://github.com/kubernetes-sigs/kwok/releases/download}/v$kwok
registry_url=${REGISTRY_RELEASES:-https://github.com/distribution/distribution/releases/download}/v$registry

from_release() {
  local name archive
  case $1 in
  etcd) name=etcd-v$etcd-linux-$arch && tarball "$etcd_url/$name.tar.gz" "$etcd_url/SHA256SUMS" "$name/etcd" 1 ;;
  helm) archive=helm-v$helm-linux-$arch.tar.gz && tarball "$helm_url/$archive" "$helm_url/$archive.sha256sum" "linux-$arch/helm" 1 ;;
  kustomize) tarball "$kustomize_url/kustomize_v${kustomize}_linux_$arch.tar.gz" "$kustomize_url/checksums.txt" kustomize 0 ;;
  registry) archive=registry_${registry}_linux_$arch.tar.gz && tarball "$registry_url/$archive" "$registry_url/$archive.sha256" registry 0 ;;
  kwok) fetch "$kwok_url/kwok-linux-$arch" "$work/kwok" && fetch "$kwok_url/kwok-linux-$arch.sha256" "$work/kwok.sum" && check "$work/kwok" "$(cut -d' ' -f1 "$work/kwok.sum")" ;;
  *) fetch "$kubernetes_url/$1" "$work/$1" && fetch "$kubernetes_url/$1.sha256" "$work/$1.sum" && check "$work/$1" "$(cut -d' ' -f1 "$work/$1.sum")" ;;
  esac
}

# All at once: the slowest decides.
download() {
  local name
  for name in $(still_missing); do
    has_no_release "$name" || { if from_release "$name"; then keep "$work/$name" "$name"; else say "$name: there is no release here, or its checksum is another one"; fi; } &
  done
  wait
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

# build MODULE LDFLAGS PACKAGE...: builds these packages at once, what they share only once, and says how far it is.
build() {
  local module=$1 flags=$2 mod=readonly
  shift 2
  if [ "$module" = kubernetes ] && [ "$kubernetes" != "$pinned" ]; then
    module=$work/kubernetes mod=mod
    other_kubernetes
  fi
  mkdir "$work/built"
  local env=(env CGO_ENABLED=0 GOFLAGS=-mod=$mod)
  local total log=$work/packages
  total=$(cd "$module" && "${env[@]}" go list -deps "$@" 2>/dev/null | wc -l)
  : >"$log"
  (cd "$module" && exec "${env[@]}" go build -v -trimpath -ldflags="-s -w $flags" -o "$work/built/" "$@") >"$log" 2>&1 &
  local go=$! waited=0
  while kill -0 $go 2>/dev/null; do
    sleep 1
    waited=$((waited + 1))
    [ $((waited % 15)) != 0 ] || say "  $(grep -cvE '^go: ' "$log" || true) of at most $total packages of ${module##*/} compiled"
  done
  wait $go || { grep -vE '^(go: downloading|[a-z0-9.]+/|[a-z]+$)' "$log" >&2 || true; die "${module##*/} could not be built"; }
}

# The Go module of a program, and its package there.
module() { case $1 in kube*) echo kubernetes ;; kustomize-controller) echo flux ;; *) echo "$1" ;; esac; }
package() {
  case $1 in
  etcd) echo go.etcd.io/etcd/server/v3 ;;
  helm) echo helm.sh/helm/v4/cmd/helm ;;
  kustomize) echo sigs.k8s.io/kustomize/kustomize/v5 ;;
  gitssh) echo . ;;
  registry) echo github.com/distribution/distribution/v3/cmd/registry ;;
  kwok) echo sigs.k8s.io/kwok/cmd/kwok ;;
  kustomize-controller) echo github.com/fluxcd/kustomize-controller ;;
  *) echo "k8s.io/kubernetes/cmd/$1" ;;
  esac
}
flags() {
  local stamp=k8s.io/component-base/version
  case $1 in
  kubernetes) echo "-X $stamp.gitVersion=v$kubernetes -X $stamp.gitMajor=${kubernetes%%.*} -X $stamp.gitMinor=$(echo "$kubernetes" | cut -d. -f2)" ;;
  registry) echo "-X github.com/distribution/distribution/v3/version.version=v$registry" ;;
  esac
}

# Builds what is still missing, module by module.
build_missing() {
  local left name module group
  left=$(still_missing)
  [ -n "$left" ] || return 0
  command -v go >/dev/null || die "${left% } could not be downloaded, and there is no Go to build it: install Go (https://go.dev/dl), or set KUBEBUILDER_ASSETS to a folder that holds these programs"
  while [ -n "$left" ]; do
    module=$(module "${left%% *}") group=
    for name in $left; do [ "$(module "$name")" != "$module" ] || group="$group $name"; done
    say "builds from Go modules:$group (left: ${left% })"
    # shellcheck disable=SC2046 # One word a package.
    build "$module" "$(flags "$module")" $(for name in $group; do package "$name"; done)
    for name in $group; do
      # A program is named as the last part of its package's path, without a version.
      built=$work/built/$name
      [ -e "$built" ] || built=$(find "$work/built" -type f | head -n 1)
      keep "$built" "$name"
    done
    rm -r "$work/built"
    left=$(still_missing)
  done
}

left=$(still_missing)
if [ -n "$left" ]; then
  if command -v curl >/dev/null; then
    say "downloads the releases of: ${left% }"
    download
  fi
  build_missing
fi
say "the tools are in $dir"
echo "$dir"
