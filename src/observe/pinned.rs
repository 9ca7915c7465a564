//! What is pinned at this moment, and the state in which each object was left.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

use gitward_core::plan::ObjectKey;
use kube::api::DynamicObject;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::{Mutex as AsyncMutex, MutexGuard as AsyncGuard};

use super::fingerprint::{Fingerprint, fingerprint};
use crate::api::GitSync;
use crate::apply::Kind;
use crate::render::Slice;

/// How many locks there are for writing objects: two objects seldom share one.
const LOCKS: usize = 256;

/// A pinned object.
#[derive(Clone, Debug)]
pub struct PinnedObject {
    /// The GitSync that declares it.
    pub sync: ObjectRef<GitSync>,
    /// Its kind.
    pub kind: Kind,
    /// The declared object with its marks.
    pub declared: Slice,
    /// The state in which the last apply left it.
    pub settled: Fingerprint,
    /// The version of that state, as the API server counts; 0 where it does not count.
    pub version: u64,
}

/// All pinned objects.
pub struct Pinned {
    objects: Mutex<HashMap<ObjectKey, PinnedObject>>,
    locks: Vec<AsyncMutex<()>>,
}

impl Default for Pinned {
    fn default() -> Pinned {
        Pinned { objects: Mutex::default(), locks: (0..LOCKS).map(|_| AsyncMutex::default()).collect() }
    }
}

impl Pinned {
    /// Waits until nobody else writes this object. Whoever writes one holds this until the result is settled, so that
    /// the watch never takes our own write for drift.
    pub async fn lock(&self, key: &ObjectKey) -> AsyncGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let index = usize::try_from(hasher.finish() % LOCKS as u64).unwrap_or(0);
        self.locks[index].lock().await
    }

    /// Remembers the state in which an apply left the object.
    pub fn settle(
        &self,
        key: &ObjectKey,
        sync: ObjectRef<GitSync>,
        kind: Kind,
        declared: Slice,
        applied: &DynamicObject,
    ) {
        let settled = of(applied);
        let object = PinnedObject { sync, kind, declared, settled, version: version(applied) };
        self.objects().insert(key.clone(), object);
    }

    /// The object, where it is pinned.
    pub fn get(&self, key: &ObjectKey) -> Option<PinnedObject> {
        self.objects().get(key).cloned()
    }

    /// Forgets an object: it is not healed any more.
    pub fn forget(&self, key: &ObjectKey) {
        self.objects().remove(key);
    }

    /// Forgets all objects of a GitSync.
    pub fn forget_sync(&self, sync: &ObjectRef<GitSync>) {
        self.objects().retain(|_, object| object.sync != *sync);
    }

    /// The pinned objects of a kind.
    pub fn of_kind(&self, group: &str, kind: &str) -> Vec<ObjectKey> {
        self.objects().keys().filter(|key| key.group == group && key.kind == kind).cloned().collect()
    }

    fn objects(&self) -> MutexGuard<'_, HashMap<ObjectKey, PinnedObject>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The fingerprint of a live object.
pub(super) fn of(object: &DynamicObject) -> Fingerprint {
    let text = serde_json::to_string(object).unwrap_or_default();
    // What was read from JSON can be read again; an empty object's fingerprint costs one apply.
    fingerprint(&serde_json::from_str(&text).unwrap_or_default())
}

/// The API server's count of an object's state (comparable since Kubernetes 1.35, KEP-5504; in practice always).
pub(super) fn version(object: &DynamicObject) -> u64 {
    object.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}
