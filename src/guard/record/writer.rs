//! Writes what waits in the queue, several callers' entries side by side, until it is closed and empty.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::Client;
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use tokio::sync::watch;
use tokio::time::{Instant, Interval, timeout_at};
use tracing::warn;

use super::entry::Entry;
use super::metrics::Metrics;
use super::store::{Store, Stored};
use super::{Queue, Recorder};
use crate::kubernetes::{MANAGER, describe};
use crate::protect::Disabled;

/// How many entries are written at a time, each of another caller.
const PARALLEL: usize = 8;
/// How often all records are read, to remove those that are too old or too many. Several guards know of one another's by this.
const SWEEP: Duration = Duration::from_secs(600);
/// How long an entry is tried where the API server fails.
const TRIED: Duration = Duration::from_secs(120);
/// How long a single try may take.
const TRY: Duration = Duration::from_secs(10);
/// Longest pause between two tries.
const PAUSE: Duration = Duration::from_secs(5);
/// How long the process writes what waits after the last answer was given. With the drain and what is in flight before it,
/// shorter than the chart's `terminationGracePeriodSeconds`.
const FLUSH: Duration = Duration::from_secs(12);

/// Writes what the [`Recorder`] takes.
pub struct Writer {
    client: Client,
    recorder: Recorder,
    queue: Arc<Queue>,
    store: Store,
    metrics: Metrics,
}

impl Writer {
    /// A writer for what this recorder takes; `None` where it keeps nothing. Records of cluster-scoped objects go to
    /// `own_namespace`.
    pub fn new(recorder: &Recorder, client: Client, own_namespace: String) -> Option<Writer> {
        let (queue, metrics) = (recorder.queue.clone()?, recorder.metrics.clone());
        let store = Store::new(client.clone(), own_namespace, metrics.clone());
        Some(Writer { client, recorder: recorder.clone(), queue, store, metrics })
    }

    /// Writes until the queue is closed and empty. What cannot be written by [`FLUSH`] after that is in the log.
    pub async fn run(self) {
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (end, ends) = watch::channel(None);
        tokio::select! {
            () = self.keep_swept(&mut sweep) => {}
            () = self.follow_disabled() => {}
            () = self.write_all(&end, &ends) => {}
        }
    }

    /// Records that the guard is disabled. Its webhook configuration is no object that the API server asks webhooks about, so it is
    /// watched.
    async fn follow_disabled(&self) {
        let only = watcher::Config::default().fields(&format!("metadata.name={MANAGER}"));
        let webhooks: Api<ValidatingWebhookConfiguration> = Api::all(self.client.clone());
        let mut configurations = pin!(watcher(webhooks, only).default_backoff().applied_objects());
        while let Some(next) = configurations.next().await {
            match next.as_ref().map(Disabled::of) {
                Ok(None) => {}
                Ok(Some(disabled)) => {
                    warn!(by = disabled.by, reason = disabled.reason, "the guard is disabled: nothing is refused");
                    self.recorder.enqueue(Entry::disabled(&disabled, Timestamp::now()));
                }
                Err(error) => {
                    warn!(%error, "the webhook configuration cannot be watched: disabling the guard is not recorded")
                }
            }
        }
    }

    async fn keep_swept(&self, sweep: &mut Interval) {
        loop {
            sweep.tick().await;
            if let Err(error) = self.store.sweep(Timestamp::now()).await {
                warn!(
                    error = describe(&error),
                    "BlockedChanges cannot be listed and cleared of those that are too old"
                );
            }
        }
    }

    async fn write_all(&self, end: &watch::Sender<Option<Instant>>, ends: &watch::Receiver<Option<Instant>>) {
        let mut writing = FuturesUnordered::new();
        loop {
            let changed = self.queue.changed.notified();
            while writing.len() < PARALLEL
                && let Some(entry) = self.next()
            {
                writing.push(self.write(entry, ends.clone()));
            }
            if self.queue.state().closed {
                end.send_if_modified(|end| end.is_none() && end.replace(Instant::now() + FLUSH).is_none());
                if writing.is_empty() {
                    return;
                }
            }
            tokio::select! {
                Some(caller) = writing.next(), if !writing.is_empty() => self.queue.state().entries.done(&caller),
                () = changed => {}
            }
        }
    }

    fn next(&self) -> Option<Entry> {
        let mut state = self.queue.state();
        let entry = state.entries.pop();
        self.metrics.waiting(state.entries.len());
        entry
    }

    /// Writes an entry, or says why not. Returns its caller.
    async fn write(&self, entry: Entry, mut ends: watch::Receiver<Option<Instant>>) -> String {
        let last = Instant::now() + TRIED;
        let mut pause = Duration::from_millis(100);
        loop {
            let until = ends.borrow().map_or(last, |end| end.min(last));
            let tried = timeout_at(until.min(Instant::now() + TRY), self.store.write(&entry)).await;
            let failure = match tried {
                Ok(Ok(Stored::Written)) => {
                    self.metrics.written(&entry);
                    return entry.caller;
                }
                Ok(Ok(Stored::NoRoom)) => {
                    self.metrics.dropped(&entry, "there are too many records that are worth more");
                    return entry.caller;
                }
                Ok(Err(error)) => Failure { passes: passes(&error), text: describe(&error) },
                Err(_) => Failure { passes: true, text: "the API server does not answer".to_owned() },
            };
            if !failure.passes || Instant::now() + pause > until {
                self.metrics.dropped(&entry, &failure.text);
                return entry.caller;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // At the end there is less time for it.
                _ = ends.changed() => {}
            }
            pause = (pause * 2).min(PAUSE);
        }
    }
}

struct Failure {
    /// Whether it may go by itself.
    passes: bool,
    text: String,
}

/// Whether an error may go by itself: the API server is away, busy, or has not answered in order.
fn passes(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code == 429 || status.code >= 500,
        _ => true,
    }
}
