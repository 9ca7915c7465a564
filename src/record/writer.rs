//! Writes refusals as BlockedChanges, and keeps their number and age bounded.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, PostParams};
use kube::{Client, ResourceExt};
use thiserror::Error;
use tokio::sync::mpsc;
use tracing::warn;

use super::Refusal;
use crate::api::BlockedChange;
use crate::kubernetes::{describe, is_status};

/// Label that tells the records of one caller from those of others.
const USER: &str = "gitward.dev/user";
/// How many records one caller may have in a namespace; the oldest goes. Nobody can flood others' records away.
const PER_CALLER: usize = 100;
/// How long a record is kept after the last try.
const AGE: SignedDuration = SignedDuration::from_hours(30 * 24);
const SWEEP: Duration = Duration::from_secs(3600);
/// How often a record is tried: two guards may write the same one.
const TRIES: usize = 5;

/// Why a BlockedChange could not be written.
#[derive(Debug, Error)]
#[error("BlockedChange {namespace}/{name}: {source}")]
pub struct WriterError {
    namespace: String,
    name: String,
    source: Box<kube::Error>,
}

/// Writes what the [`super::Recorder`] takes.
pub struct Writer {
    client: Client,
    /// Where records of cluster-scoped objects go.
    own_namespace: String,
}

impl Writer {
    /// A writer that keeps records of cluster-scoped objects in `own_namespace`.
    pub fn new(client: Client, own_namespace: String) -> Writer {
        Writer { client, own_namespace }
    }

    /// Writes until the queue is closed and empty.
    pub async fn run(self, mut queue: mpsc::Receiver<Refusal>) {
        let mut sweep = tokio::time::interval(SWEEP);
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                received = queue.recv_many(&mut batch, 1024) => {
                    if received == 0 {
                        return;
                    }
                    self.write_all(batch.drain(..)).await;
                }
                _ = sweep.tick() => self.sweep(Timestamp::now()).await,
            }
        }
    }

    /// Writes a batch; refusals of one name are counted together first.
    async fn write_all(&self, batch: impl Iterator<Item = Refusal>) {
        let mut merged: BTreeMap<(String, String), Refusal> = BTreeMap::new();
        for refusal in batch {
            let key = (self.namespace_of(&refusal).to_owned(), refusal.name.clone());
            match merged.get_mut(&key) {
                Some(earlier) => earlier.absorb(refusal),
                None => drop(merged.insert(key, refusal)),
            }
        }
        for ((namespace, name), refusal) in merged {
            if let Err(source) = self.write(&namespace, refusal).await {
                let error = WriterError { namespace, name, source: Box::new(source) };
                warn!(error = describe(&error.source), record = %error, "a refusal is only logged");
            }
        }
    }

    fn namespace_of<'a>(&'a self, refusal: &'a Refusal) -> &'a str {
        match refusal.spec.object.namespace.as_str() {
            "" => &self.own_namespace,
            namespace => namespace,
        }
    }

    async fn write(&self, namespace: &str, refusal: Refusal) -> Result<(), kube::Error> {
        let records: Api<BlockedChange> = Api::namespaced(self.client.clone(), namespace);
        for _ in 0..TRIES {
            let result = match records.get_opt(&refusal.name).await? {
                Some(mut stored) => {
                    let mut sum = Refusal { spec: stored.spec, ..refusal.clone() };
                    sum.absorb(refusal.clone());
                    stored.spec = sum.spec;
                    records.replace(&refusal.name, &PostParams::default(), &stored).await
                }
                None => {
                    self.make_room(&records, &refusal.user_hash).await?;
                    records.create(&PostParams::default(), &new(&refusal)).await
                }
            };
            match result {
                Err(error) if is_status(&error, 409) => continue,
                // The namespace is gone or on its way: the record goes where it cannot be lost.
                Err(error) if namespace != self.own_namespace && (is_status(&error, 404) || is_status(&error, 403)) => {
                    return Box::pin(self.write(&self.own_namespace, refusal)).await;
                }
                other => return other.map(|_| ()),
            }
        }
        Ok(())
    }

    /// Removes the caller's oldest records where a new one would be too many.
    async fn make_room(&self, records: &Api<BlockedChange>, user_hash: &str) -> Result<(), kube::Error> {
        let mut own = records.list_metadata(&ListParams::default().labels(&format!("{USER}={user_hash}"))).await?.items;
        if own.len() < PER_CALLER {
            return Ok(());
        }
        own.sort_by_key(|record| record.creation_timestamp().map(|t| t.0));
        for record in &own[..=own.len() - PER_CALLER] {
            ignore_gone(records.delete(&record.name_any(), &DeleteParams::default()).await.map(|_| ()))?;
        }
        Ok(())
    }

    /// Removes records that are too old.
    async fn sweep(&self, now: Timestamp) {
        let all: Api<BlockedChange> = Api::all(self.client.clone());
        let listed = match all.list(&ListParams::default()).await {
            Ok(listed) => listed,
            Err(error) => return warn!(error = describe(&error), "old BlockedChanges cannot be listed"),
        };
        for old in listed.items.iter().filter(|record| now.duration_since(record.spec.last_time.0) > AGE) {
            let records: Api<BlockedChange> =
                Api::namespaced(self.client.clone(), &old.namespace().unwrap_or_default());
            let deleted = records.delete(&old.name_any(), &DeleteParams::default()).await;
            if let Err(error) = ignore_gone(deleted.map(|_| ())) {
                warn!(error = describe(&error), "an old BlockedChange cannot be deleted");
            }
        }
    }
}

fn new(refusal: &Refusal) -> BlockedChange {
    let labels = [(USER.to_owned(), refusal.user_hash.clone())].into();
    let metadata = ObjectMeta { name: Some(refusal.name.clone()), labels: Some(labels), ..ObjectMeta::default() };
    BlockedChange { metadata, spec: refusal.spec.clone() }
}

fn ignore_gone(result: Result<(), kube::Error>) -> Result<(), kube::Error> {
    result.or_else(|error| if is_status(&error, 404) { Ok(()) } else { Err(error) })
}
