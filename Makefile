# make demo    the whole story on a real control plane
# make test    everything that has to hold before a commit lands
# make fuzz    random field sets and broken reviews, without an end
# make bench-guard  what a review costs, beside a webhook that does nothing; ROUNDS=10 for steadier numbers

.PHONY: demo test tools crds lint fuzz bench-guard

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

ROUNDS ?= 3
bench-guard:
	cargo bench --quiet --bench guard -- --rounds=$(ROUNDS)
