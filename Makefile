# make demo    the whole story on a real control plane; what it needs is downloaded or built, beside gitward itself
# make check   formatting, lints and unit tests, without a control plane: what to run before each commit
# make test    everything that has to hold before a commit lands; of the tests that are long by nature a part, another one at each commit
# make test T=name  the tests whose name contains `name`, with the logs of their control plane where they fail
# make test-all     all parts of the long tests; KUBERNETES=1.33.13 for another version of Kubernetes, here and above
# make test-versions  the control plane's tests and the chart's on the oldest and the newest Kubernetes, once per release: some two hours
# make test-cert-manager  the guard's certificate by the real cert-manager, which is built first: some minutes; not part of `make test`
# make test-clock  a reconciler whose clock is wrong by a year; needs libfaketime, so it is not part of `make test`; CI runs it where it is
# make manifests  gitward for those who do not use Helm: dist/crds.yaml and dist/gitward.yaml; VALUES="--set logLevel=debug" for other values
# make dist    everything that a release has, into dist/; TARGETS=… for other Rust targets, COSIGN_KEY=… signs; see docs/install.md
# make dist-sign  signs what `make dist` made;  make dist-compare  builds the release twice and compares the bytes
# make workflows  checks .github/workflows with actionlint
# make audit   what gitward is built from: licences, duplicates, sources, known vulnerabilities where their list can be reached
# make e2e     the chart, unchanged, on a real node: kubelet, container runtime, the image. As root on Linux; E2E_IMAGE=FILE takes that of `make image`
# make image   the image, with whatever builder is there; IMAGE=registry.example.com/gitward:0.1.0
# make fuzz    random field sets and broken reviews, without an end
# make soak    crashes at random points without an end, and a repository of 1 GiB; SOAK=20 for so many rounds, GITWARD_SEED=… again
# make bench-guard  what a review costs, beside a webhook that does nothing; ROUNDS=10 for steadier numbers
# make bench-reconcile  how fast drift is healed, what a first sync costs beside bare applies, what a restart writes; some ten minutes

.PHONY: demo demo-tools demo-program check test test-all test-versions test-cert-manager test-clock tools crds manifests format lint lint-chart audit fuzz soak bench-guard bench-reconcile image e2e dist dist-sign dist-compare workflows

# Programs of the test cluster and Rust code are got and built side by side.
BESIDE = $(MAKE) --no-print-directory --jobs=2

demo:
	@$(BESIDE) demo-tools demo-program
	cargo run --quiet --example demo

demo-tools:
	@tests/cluster/tools/get.sh demo >/dev/null

demo-program:
	cargo build --bin gitward --example demo

check: format
	cargo clippy --workspace --all-targets -- --deny warnings
	cargo test --quiet --package gitward-core --package gitward --lib --bins
	cargo test --quiet --package gitward-core --test corpus --test properties

test:
	@$(BESIDE) tools lint
	@$(MAKE) --no-print-directory lint-chart
	tests/run.sh $(T)
	@echo "make test has passed. It runs no Pods: make e2e does, on a real node (as root on Linux)."

test-all:
	@$(BESIDE) tools lint
	@$(MAKE) --no-print-directory lint-chart
	tests/run.sh --all

VERSIONS ?= 1.33.13 1.37.2
test-versions:
	set -e; for version in $(VERSIONS); do KUBERNETES=$$version cargo test --workspace --test control_plane --test install; done

# Everything is built and packed outside of the node, which reaches no network.
E2E_IMAGE ?=
e2e: tools
	@tests/e2e/node.sh --check
	cargo test --workspace --test e2e --no-run
	@mkdir -p target/e2e
	@test -n "$(E2E_IMAGE)" || tests/e2e/image.sh "$${CARGO_TARGET_DIR:-target}/debug/gitward" target/e2e/gitward.tar
	E2E_IMAGE="$(abspath $(or $(E2E_IMAGE),target/e2e/gitward.tar))" tests/e2e/node.sh cargo test --offline --workspace --test e2e

# `make test` makes cert-manager's writes in its name instead.
test-cert-manager: tools
	tests/cluster/tools/certmanager/build.sh
	cargo test --workspace --test control_plane -- --ignored the_real_cert_manager

LIBFAKETIME ?= $(firstword $(wildcard /usr/lib/*/faketime/libfaketime.so.1 /usr/lib/faketime/libfaketime.so.1))
test-clock: tools
	LIBFAKETIME=$(LIBFAKETIME) cargo test --workspace --test control_plane -- --ignored clock_is_wrong

# Without a builder it is target/image/gitward.tar, for `ctr images import`, `podman load` or `skopeo copy oci-archive:…`.
IMAGE ?= gitward:$(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
image:
	image/build.sh "$(IMAGE)"

tools:
	@tests/cluster/tools/get.sh >/dev/null

format:
	cargo fmt --all --check

lint: format
	cargo clippy --workspace --all-targets -- --deny warnings

lint-chart: tools
	"$$(tests/cluster/tools/get.sh 2>/dev/null)/helm" lint --strict --quiet charts/gitward

audit:
	@ci/supply-chain.sh

# The CRDs of the chart, from the types in src/api.
crds:
	cargo run --quiet -- crds > charts/gitward/crds/gitward.yaml

DIST ?= dist
VALUES ?=
manifests: tools
	release/manifests.sh "$$(tests/cluster/tools/get.sh 2>/dev/null)/helm" $(DIST) $(VALUES)

# The machine's own target without musl: make dist TARGETS=x86_64-unknown-linux-gnu
TARGETS ?= x86_64-unknown-linux-musl aarch64-unknown-linux-musl
RELEASE = $(DIST)/gitward-$(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
dist:
	release/dist.sh $(DIST) $(TARGETS)

# COSIGN_KEY or COSIGN_KEYLESS=yes says how: release/sign.sh.
dist-sign:
	release/sign.sh $(RELEASE)
	release/airgap.sh $(RELEASE)

dist-compare:
	release/compare.sh $(TARGETS)

workflows:
	"$$(release/tools/get.sh actionlint)" -color=false

# The same properties that `make test` tries a fixed number of inputs with, until somebody stops it.
fuzz:
	GITWARD_FUZZ=18446744073709551615 cargo test --release --package gitward-core --test properties

# Ignored in `make test`. The seed is printed.
SOAK ?= 18446744073709551615
soak: tools
	GITWARD_SOAK=$(SOAK) cargo test --workspace --test faults -- --ignored --nocapture --test-threads=1 soak::

ROUNDS ?= 3
bench-guard:
	cargo bench --quiet --bench guard -- --rounds=$(ROUNDS)

# Rounds of the first sync; the rest is measured once, with many edits.
bench-reconcile: tools
	cargo bench --quiet --bench reconcile -- --rounds=$(ROUNDS)
