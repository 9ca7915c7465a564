//! BlockedChanges in the API server: one entry counted into its record, and records that have to go.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, PostParams, Preconditions};
use kube::{Client, ResourceExt};

use super::entry::Entry;
use super::metrics::Metrics;
use super::retention::{Kept, Key, Limits, Retention};
use super::worth::worth;
use crate::api::BlockedChange;
use crate::kubernetes::is_status;

/// Label that tells the records of one caller from those of others.
const CALLER: &str = "gitward.dev/user";
/// How many records are kept. Some 2 KiB each: 4 MiB in etcd.
const LIMITS: Limits = Limits { per_caller: 200, total: 2000 };
/// How long a record is kept after the last try.
const AGE: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How many records are read at a time.
const PAGE: u32 = 250;
/// How many names are tried where other changes have the same hash.
const NAMES: usize = 4;

/// What became of an entry.
pub(super) enum Stored {
    /// A record counts it.
    Written,
    /// There are too many records that are worth more.
    NoRoom,
}

/// Reads and writes records.
pub(super) struct Store {
    client: Client,
    /// Where records of cluster-scoped objects go.
    own_namespace: String,
    metrics: Metrics,
    known: Mutex<Retention>,
}

impl Store {
    pub(super) fn new(client: Client, own_namespace: String, metrics: Metrics) -> Store {
        Store { client, own_namespace, metrics, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Retention> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn records(&self, namespace: &str) -> Api<BlockedChange> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Counts an entry into its record.
    ///
    /// # Errors
    /// Where the API server does not take it. An entry is never counted twice, unless the answer to a write was lost.
    pub(super) async fn write(&self, entry: &Entry) -> Result<Stored, kube::Error> {
        let namespace = match entry.spec.object.namespace.as_str() {
            "" => &self.own_namespace,
            namespace => namespace,
        };
        match self.write_in(namespace, entry).await {
            // The namespace is gone or on its way: the record goes where it cannot be lost.
            Err(error) if namespace != self.own_namespace && (is_status(&error, 404) || is_status(&error, 403)) => {
                self.write_in(&self.own_namespace, entry).await
            }
            other => other,
        }
    }

    async fn write_in(&self, namespace: &str, entry: &Entry) -> Result<Stored, kube::Error> {
        let names = (0..NAMES).map(|n| if n == 0 { entry.name.clone() } else { format!("{}-{n}", entry.name) });
        for name in names {
            let key = (namespace.to_owned(), name);
            if let Some(stored) = self.write_as(&key, entry).await? {
                return Ok(stored);
            }
        }
        Ok(Stored::NoRoom)
    }

    /// Writes under this name, from a fresh read after each conflict. `None` where the name is another change's.
    async fn write_as(&self, key: &Key, entry: &Entry) -> Result<Option<Stored>, kube::Error> {
        let records = self.records(&key.0);
        let mut exists = self.known().contains(key);
        loop {
            let written = if exists {
                let Some(mut stored) = records.get_opt(&key.1).await? else {
                    self.known().remove(key);
                    exists = false;
                    continue;
                };
                if !entry.is_same_change(&stored.spec) {
                    return Ok(None);
                }
                if entry.once {
                    return Ok(Some(Stored::Written));
                }
                let mut sum = Entry { spec: stored.spec, ..entry.clone() };
                sum.absorb(entry.clone());
                stored.spec = sum.spec;
                records.replace(&key.1, &PostParams::default(), &stored).await
            } else {
                if !self.make_room(key, entry).await? {
                    return Ok(Some(Stored::NoRoom));
                }
                let created = records.create(&PostParams::default(), &new(&key.1, entry)).await;
                if created.is_err() {
                    self.known().remove(key);
                }
                created
            };
            match written {
                Ok(record) => {
                    self.known().insert(key.clone(), kept(&record));
                    return Ok(Some(Stored::Written));
                }
                // Another guard was faster: it has written a record, or another version of it.
                Err(error) if is_status(&error, 409) => {
                    exists = true;
                    tokio::time::sleep(Duration::from_millis(fastrand::u64(1..30))).await;
                }
                // It was deleted meanwhile.
                Err(error) if exists && is_status(&error, 404) => exists = false,
                Err(error) => return Err(error),
            }
        }
    }

    /// Removes what has to go for a new record. Whether there is room for it then.
    async fn make_room(&self, key: &Key, entry: &Entry) -> Result<bool, kube::Error> {
        let new = Kept {
            caller: entry.caller.clone(),
            worth: worth(&entry.spec),
            last: entry.spec.last_time.0.as_millisecond(),
        };
        self.known().insert(key.clone(), new);
        loop {
            let excess = self.known().excess(LIMITS);
            match excess {
                None => return Ok(true),
                Some(excess) if excess == *key => {
                    self.known().remove(key);
                    return Ok(false);
                }
                Some(excess) => {
                    if let Err(error) = self.evict(&excess).await {
                        self.known().remove(key);
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Deletes a record, unless it has become worth more meanwhile.
    async fn evict(&self, key: &Key) -> Result<(), kube::Error> {
        let records = self.records(&key.0);
        let Some(live) = records.get_opt(&key.1).await? else {
            self.known().remove(key);
            return Ok(());
        };
        let now = kept(&live);
        let is_another = |known: &Retention| known.get(key).is_some_and(|known| *known != now);
        if is_another(&self.known()) {
            self.known().insert(key.clone(), now);
            return Ok(());
        }
        match records.delete(&key.1, &unchanged(&live)).await {
            Ok(_) => self.metrics.evicted(&key.0, &key.1, &live.spec),
            Err(error) if is_status(&error, 404) => {}
            // It has just been counted up: what is known of it is read again.
            Err(error) if is_status(&error, 409) => return Ok(()),
            Err(error) => return Err(error),
        }
        self.known().remove(key);
        Ok(())
    }

    /// Reads all records, page by page, deletes those that are too old, and those that are too many.
    pub(super) async fn sweep(&self, now: Timestamp) -> Result<(), kube::Error> {
        let all: Api<BlockedChange> = Api::all(self.client.clone());
        let mut found = Retention::default();
        let mut page = ListParams::default().limit(PAGE);
        loop {
            let listed = all.list(&page).await?;
            for record in &listed.items {
                if now.duration_since(record.spec.last_time.0) > AGE {
                    let records = self.records(&record.namespace().unwrap_or_default());
                    ignore_gone(records.delete(&record.name_any(), &unchanged(record)).await.map(|_| ()))?;
                } else {
                    found.insert((record.namespace().unwrap_or_default(), record.name_any()), kept(record));
                }
            }
            match listed.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = ListParams::default().limit(PAGE).continue_token(&token),
                None => break,
            }
        }
        *self.known() = found;
        loop {
            let excess = self.known().excess(LIMITS);
            match excess {
                Some(excess) => self.evict(&excess).await?,
                None => return Ok(()),
            }
        }
    }
}

fn kept(record: &BlockedChange) -> Kept {
    Kept {
        caller: record.labels().get(CALLER).cloned().unwrap_or_default(),
        worth: worth(&record.spec),
        last: record.spec.last_time.0.as_millisecond(),
    }
}

fn new(name: &str, entry: &Entry) -> BlockedChange {
    let labels = [(CALLER.to_owned(), entry.caller.clone())].into();
    let metadata = ObjectMeta { name: Some(name.to_owned()), labels: Some(labels), ..ObjectMeta::default() };
    BlockedChange { metadata, spec: entry.spec.clone() }
}

/// A record that was counted up meanwhile is not deleted with its count.
fn unchanged(record: &BlockedChange) -> DeleteParams {
    let preconditions = Preconditions { uid: record.uid(), resource_version: record.resource_version() };
    DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() }
}

fn ignore_gone(result: Result<(), kube::Error>) -> Result<(), kube::Error> {
    result.or_else(|error| if is_status(&error, 404) || is_status(&error, 409) { Ok(()) } else { Err(error) })
}
