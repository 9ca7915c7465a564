//! Which GitSyncs have to be looked at, because something happened to their objects. Many things happen at a time: they are
//! told in bunches.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::api::SyncId;

/// How long a bunch is gathered.
const BUNCH: Duration = Duration::from_millis(200);

/// GitSyncs that wait to be looked at.
#[derive(Default)]
pub struct Wakes {
    pending: Mutex<HashSet<SyncId>>,
    notify: Notify,
}

impl Wakes {
    /// Something happened.
    pub fn wake(&self, sync: &SyncId) {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).insert(sync.clone());
        self.notify.notify_one();
    }

    /// Waits for the next bunch.
    pub async fn next(&self) -> Vec<SyncId> {
        self.notify.notified().await;
        tokio::time::sleep(BUNCH).await;
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).drain().collect()
    }
}
