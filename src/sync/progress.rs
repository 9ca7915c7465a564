//! What is known of each GitSync between two looks at it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::hooks::Hooks;
use super::run::Work;
use super::status::Outcome;
use crate::api::{Drift, GitSyncStatus, MOST_DRIFTS, SyncId};
use crate::source::Commit;

/// What is known of a GitSync between two looks.
#[derive(Default)]
pub(super) struct Progress {
    /// Of the GitSync: another one of the same name begins anew.
    pub(super) uid: Option<String>,
    /// What was carried out to the end.
    pub(super) applied: Option<Applied>,
    /// What is under way, or failed and is tried again.
    pub(super) work: Option<Work>,
    /// What was carried out for a team: whether it may still do that is asked at every look.
    pub(super) kept: Option<Work>,
    /// The hooks of what is declared.
    pub(super) hooks: Hooks,
    /// When what failed is tried again.
    pub(super) retry_at: Option<Instant>,
    /// The commit that is applied, or under way.
    pub(super) commit: Option<Commit>,
    /// What the last look came to.
    pub(super) outcome: Option<Outcome>,
    /// How often it failed in a row.
    pub(super) failures: u32,
    /// When git is asked again.
    pub(super) next_look: Option<Instant>,
    /// Which gate is waited at, or that the end is, and since when.
    pub(super) waits: Option<(usize, Instant)>,
    /// Since when the revision fails.
    pub(super) failing_since: Option<Instant>,
    /// The status that was written last: the one in the cache may be older.
    pub(super) status: Option<GitSyncStatus>,
    /// The request for a rollback that has ended: the annotation in the cache may be older.
    pub(super) ended_request: Option<String>,
    /// Whether what is pinned is known from the watches.
    pub(super) listed: bool,
}

/// What was carried out to the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Applied {
    /// Of the GitSync's spec.
    pub(super) generation: Option<i64>,
    /// As `main@sha1:…`.
    pub(super) revision: String,
    /// What it was rendered from beside git; `None` where that cannot be told.
    pub(super) input: Option<String>,
}

/// The progress of all GitSyncs, and drifts that are not in their status yet.
#[derive(Default)]
pub(super) struct Progresses {
    by_sync: Mutex<HashMap<SyncId, Progress>>,
    drifts: Mutex<HashMap<SyncId, VecDeque<Drift>>>,
    /// GitSyncs that must not wait for their next look.
    due: Mutex<HashSet<SyncId>>,
}

impl Progresses {
    /// Takes the progress of the GitSync with this uid; it is looked at by one at a time.
    pub(super) fn take(&self, sync: &SyncId, uid: Option<&str>) -> Progress {
        let known = self.by_sync.lock().unwrap_or_else(PoisonError::into_inner).remove(sync);
        let new = || Progress { uid: uid.map(str::to_owned), ..Progress::default() };
        known.filter(|progress| progress.uid.as_deref() == uid).unwrap_or_else(new)
    }

    /// Puts it back.
    pub(super) fn put(&self, sync: &SyncId, progress: Progress) {
        self.by_sync.lock().unwrap_or_else(PoisonError::into_inner).insert(sync.clone(), progress);
    }

    /// The GitSyncs that were looked at.
    pub(super) fn syncs(&self) -> Vec<SyncId> {
        self.by_sync.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Forgets a GitSync.
    pub(super) fn forget(&self, sync: &SyncId) {
        drop(self.by_sync.lock().unwrap_or_else(PoisonError::into_inner).remove(sync));
        self.drifts.lock().unwrap_or_else(PoisonError::into_inner).remove(sync);
    }

    /// Something has changed that only a look finds out.
    pub(super) fn make_due(&self, sync: &SyncId) {
        self.due.lock().unwrap_or_else(PoisonError::into_inner).insert(sync.clone());
    }

    /// Whether something has changed since this was asked last.
    pub(super) fn take_due(&self, sync: &SyncId) -> bool {
        self.due.lock().unwrap_or_else(PoisonError::into_inner).remove(sync)
    }

    /// A drift was healed.
    pub(super) fn drifted(&self, sync: &SyncId, drift: Drift) {
        let mut all = self.drifts.lock().unwrap_or_else(PoisonError::into_inner);
        let drifts = all.entry(sync.clone()).or_default();
        drifts.push_front(drift);
        drifts.truncate(MOST_DRIFTS);
    }

    /// The drifts of which the status does not know, the newest first.
    pub(super) fn take_drifts(&self, sync: &SyncId) -> VecDeque<Drift> {
        self.drifts.lock().unwrap_or_else(PoisonError::into_inner).remove(sync).unwrap_or_default()
    }
}
