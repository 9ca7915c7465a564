//! Where refusals go: last station of the guard's flow. A refusal is written in four places, each independent of the
//! next: a log line and a metric here at once, the answer's audit annotations by the guard, and a BlockedChange by
//! the [`writer`] behind a bounded queue, so that no admission ever waits for a record.
//!
//! Imports [`crate::api`] and the verdict.

mod entry;
mod writer;

use gitward_core::verdict::{Request, Verdict};
use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;
use tracing::{info, warn};

pub use entry::Refusal;
pub use writer::{Writer, WriterError};

/// How many refusals may wait to be written. At some 1 KiB each it bounds the memory, not the audit trail: the log
/// line is already out when one is dropped here.
const QUEUE: usize = 4096;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
    decision: &'static str,
}

/// Takes refusals from the guard.
#[derive(Clone)]
pub struct Recorder {
    /// None where there is no cluster to write to.
    queue: Option<mpsc::Sender<Refusal>>,
    refusals: Family<ReasonLabel, Counter>,
    dropped: Counter,
}

impl Recorder {
    /// A recorder with its metrics, and the receiving end for a [`Writer`].
    pub fn new(registry: &mut Registry) -> (Recorder, mpsc::Receiver<Refusal>) {
        let (queue, receiver) = mpsc::channel(QUEUE);
        (Recorder::with(Some(queue), registry), receiver)
    }

    /// A recorder that writes log lines and counts.
    pub fn without_cluster(registry: &mut Registry) -> Recorder {
        Recorder::with(None, registry)
    }

    fn with(queue: Option<mpsc::Sender<Refusal>>, registry: &mut Registry) -> Recorder {
        let recorder = Recorder { queue, refusals: Family::default(), dropped: Counter::default() };
        registry.register("gitward_refusals", "Changes that are against the policy", recorder.refusals.clone());
        let dropped = "Refusals that were logged, but not written as a BlockedChange because too many waited";
        registry.register("gitward_records_dropped", dropped, recorder.dropped.clone());
        recorder
    }

    /// Records a refusal. Never waits. A dry run leaves no record but the log line and the metric.
    pub fn record(&self, request: &Request<'_>, verdict: &Verdict, now: Timestamp) {
        let label = ReasonLabel { reason: verdict.reason.as_str(), decision: verdict.decision.as_str() };
        self.refusals.get_or_create(&label).inc();
        let refusal = Refusal::new(request, verdict, now);
        info!(
            user = refusal.spec.user,
            verb = refusal.spec.verb,
            object = refusal.spec.summary,
            fields = refusal.spec.field_summary,
            reason = label.reason,
            decision = label.decision,
            git_sync = refusal.spec.git_sync,
            origin = refusal.spec.origin,
            dry_run = request.dry_run,
            review = %request.uid,
            "{}",
            if verdict.is_refusal() { "refused a change" } else { "recorded an access" }
        );
        let Some(queue) = self.queue.as_ref().filter(|_| !request.dry_run) else { return };
        if queue.try_send(refusal).is_err() {
            self.dropped.inc();
            warn!(review = %request.uid, "too many refusals wait to be written as BlockedChanges: this one is only logged");
        }
    }
}
