//! Where refusals and accesses go: the last station of the guard's flow. Each is written in four places, independent of one
//! another: a log line and a metric here at once, the answer's audit annotations by the guard, and a BlockedChange by the
//! [`Writer`] behind a bounded [queue](queue), so that no admission ever waits for a record.
//!
//! Imports [`crate::api`], [`crate::protect::Disabled`] and the verdict.

mod entry;
mod merge;
mod metrics;
mod queue;
mod retention;
#[cfg(test)]
mod sample;
mod store;
mod worth;
mod writer;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gitward_core::text::bounded;
use gitward_core::verdict::{Request, Verdict};
use jiff::Timestamp;
use prometheus_client::registry::Registry;
use tokio::sync::Notify;
use tracing::info;

use entry::Entry;
use metrics::Metrics;
use queue::{Bounds, FairQueue};
pub use writer::Writer;

/// How many entries may wait to be written. At some 1 KiB each, of at most 32 KiB, this bounds the memory, not the audit
/// trail: the log line is already out when one is dropped here.
const BOUNDS: Bounds = Bounds { per_caller: 200, total: 1024 };
/// Longest identifier of a review in a log line, in bytes.
const LONGEST_UID: usize = 64;

/// Takes refusals and accesses from the guard.
#[derive(Clone)]
pub struct Recorder {
    /// None where there is no cluster to write to.
    queue: Option<Arc<Queue>>,
    metrics: Metrics,
}

/// The queue between the [`Recorder`] and the [`Writer`].
struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    entries: FairQueue,
    closed: bool,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recorder {
    /// A recorder that fills a queue for a [`Writer`].
    pub fn new(registry: &mut Registry) -> Recorder {
        let state = State { entries: FairQueue::new(BOUNDS), closed: false };
        let queue = Queue { state: Mutex::new(state), changed: Notify::new() };
        Recorder { queue: Some(Arc::new(queue)), metrics: Metrics::new(registry) }
    }

    /// A recorder that writes log lines and counts.
    pub fn without_cluster(registry: &mut Registry) -> Recorder {
        Recorder { queue: None, metrics: Metrics::new(registry) }
    }

    /// Records a refusal or an access. Never waits. A dry run leaves no record but the log line and the metric.
    pub fn record(&self, request: &Request<'_>, verdict: &Verdict, now: Timestamp) {
        self.metrics.refused(verdict);
        let entry = Entry::new(request, verdict, now);
        let spec = &entry.spec;
        info!(
            user = spec.user,
            credential = spec.credential,
            verb = spec.verb,
            object = spec.summary,
            fields = spec.field_summary,
            reason = spec.reason,
            decision = spec.decision,
            git_sync = spec.git_sync,
            origin = spec.origin,
            dry_run = request.dry_run,
            review = %bounded(&request.uid, LONGEST_UID),
            "{}",
            if verdict.is_refusal() { "refused a change" } else { "recorded an access" }
        );
        if !request.dry_run {
            self.enqueue(entry);
        }
    }

    fn enqueue(&self, entry: Entry) {
        let Some(queue) = &self.queue else { return };
        let dropped = {
            let mut state = queue.state();
            let dropped = if state.closed { Some(entry) } else { state.entries.push(entry) };
            self.metrics.waiting(state.entries.len());
            dropped
        };
        queue.changed.notify_one();
        if let Some(dropped) = dropped {
            self.metrics.dropped(&dropped, "too many wait to be written");
        }
    }

    /// Nothing is recorded from now on: the writer ends when it has written what waits.
    pub fn close(&self) {
        if let Some(queue) = &self.queue {
            queue.state().closed = true;
            queue.changed.notify_one();
        }
    }
}
