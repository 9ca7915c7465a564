//! What is counted of records, and the log lines of those that become none.

use gitward_core::verdict::Verdict;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tracing::{info, warn};

use super::entry::Entry;
use crate::api::BlockedChangeSpec;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
    decision: &'static str,
}

/// The metrics of records. Clones count together.
#[derive(Clone)]
pub(super) struct Metrics {
    refusals: Family<ReasonLabel, Counter>,
    written: Counter,
    dropped: Counter,
    evicted: Counter,
    waiting: Gauge,
}

impl Metrics {
    pub(super) fn new(registry: &mut Registry) -> Metrics {
        let metrics = Metrics {
            refusals: Family::default(),
            written: Counter::default(),
            dropped: Counter::default(),
            evicted: Counter::default(),
            waiting: Gauge::default(),
        };
        registry.register("gitward_refusals", "Changes that are against the policy", metrics.refusals.clone());
        let written = "Refusals and accesses that are counted in a BlockedChange";
        registry.register("gitward_records_written", written, metrics.written.clone());
        let dropped = "Refusals and accesses that are in the log, and in no BlockedChange";
        registry.register("gitward_records_dropped", dropped, metrics.dropped.clone());
        let evicted = "BlockedChanges that were deleted to make room for others; the log has them";
        registry.register("gitward_records_evicted", evicted, metrics.evicted.clone());
        registry.register("gitward_records_waiting", "Records that wait to be written", metrics.waiting.clone());
        metrics
    }

    /// A verdict is recorded.
    pub(super) fn refused(&self, verdict: &Verdict) {
        let label = ReasonLabel { reason: verdict.reason.as_str(), decision: verdict.decision.as_str() };
        self.refusals.get_or_create(&label).inc();
    }

    /// So many entries wait.
    pub(super) fn waiting(&self, entries: usize) {
        self.waiting.set(i64::try_from(entries).unwrap_or(i64::MAX));
    }

    /// An entry is in a BlockedChange.
    pub(super) fn written(&self, entry: &Entry) {
        self.written.inc_by(count(&entry.spec));
    }

    /// An entry will be in no BlockedChange. The log has all of it, values included.
    pub(super) fn dropped(&self, entry: &Entry, why: &str) {
        self.dropped.inc_by(count(&entry.spec));
        warn!(name = entry.name, count = entry.spec.count, record = json(&entry.spec), why, "record dropped");
    }

    /// A BlockedChange was deleted to make room. The log has all of it.
    pub(super) fn evicted(&self, namespace: &str, name: &str, spec: &BlockedChangeSpec) {
        self.evicted.inc();
        info!(namespace, name, count = spec.count, record = json(spec), "record evicted");
    }
}

fn count(spec: &BlockedChangeSpec) -> u64 {
    u64::try_from(spec.count).unwrap_or(0)
}

fn json(spec: &BlockedChangeSpec) -> String {
    serde_json::to_string(spec).unwrap_or_default()
}
