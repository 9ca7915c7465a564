# make demo    the whole story on a real control plane
# make test    everything that has to hold before a commit lands
# make fuzz    random field sets and broken reviews, without an end
# make soak    crashes at random points without an end, and a repository of 1 GiB; SOAK=20 for so many rounds, GITWARD_SEED=… again
# make bench-guard  what a review costs, beside a webhook that does nothing; ROUNDS=10 for steadier numbers
# make bench-reconcile  how fast drift is healed, what a first sync costs beside bare applies, what a restart writes; some ten minutes

.PHONY: demo test tools crds lint fuzz soak bench-guard bench-reconcile

demo: tools
	cargo build --quiet --bin gitward
	cargo run --quiet --example demo

test: tools lint
	cargo test --workspace --all-targets

tools:
	@tests/cluster/tools/get.sh >/dev/null

lint: tools
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- --deny warnings
	"$$(tests/cluster/tools/get.sh 2>/dev/null)/helm" lint --strict --quiet charts/gitward

# The CRDs of the chart, from the types in src/api.
crds:
	cargo run --quiet -- crds > charts/gitward/crds/gitward.yaml

# The same properties that `make test` tries a fixed number of inputs with, until somebody stops it.
fuzz:
	GITWARD_FUZZ=18446744073709551615 cargo test --release --package gitward-core --test properties

# These tests do nothing in `make test`: they begin where GITWARD_SOAK says how many rounds. The seed is printed.
SOAK ?= 18446744073709551615
soak: tools
	GITWARD_SOAK=$(SOAK) cargo test --test faults -- --nocapture --test-threads=1 soak::

ROUNDS ?= 3
bench-guard:
	cargo bench --quiet --bench guard -- --rounds=$(ROUNDS)

# Rounds of the first sync; the rest is measured once, with many edits.
bench-reconcile: tools
	cargo bench --quiet --bench reconcile -- --rounds=$(ROUNDS)
