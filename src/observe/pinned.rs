//! What is pinned at this moment, the state in which each object was left, and how each is.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gitward_core::health::{Health, health};
use gitward_core::plan::ObjectKey;
use kube::api::DynamicObject;
use serde_json::{Value, json};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use super::fingerprint::Fingerprint;
use crate::api::SyncId;
use crate::apply::{Kind, Rules};
use crate::render::Slice;

/// More locks than this are looked through for those that nobody holds.
const MANY_LOCKS: usize = 1024;

/// What git declares of an object, as hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// Of everything that is applied.
    pub whole: Fingerprint,
    /// Of all but the place in git, which moves when a line is added above.
    pub meaning: Fingerprint,
}

/// A pinned object.
#[derive(Clone, Debug)]
pub struct PinnedObject {
    /// The GitSync that declares it.
    pub sync: Arc<SyncId>,
    /// Its kind.
    pub kind: Arc<Kind>,
    /// The declared object with its marks. After a restart it is not known until git was rendered.
    pub declared: Option<Slice>,
    /// What git declares.
    pub content: Content,
    /// The state in which the last apply left it.
    pub settled: Fingerprint,
    /// The version of that state, as the API server counts; 0 where it is not known.
    pub version: u64,
    /// The state that was seen last.
    pub live: Option<Fingerprint>,
    /// How it was then.
    pub health: Health,
    /// Whether it has done what it is for and may go: a Job with a time to live that has ended.
    pub done: bool,
    /// Whether something scales it that git does not know.
    pub is_scaled: bool,
}

impl PinnedObject {
    /// Whether it is there as the last apply left it.
    pub fn is_in_sync(&self) -> bool {
        self.live == Some(self.settled)
    }
}

/// What the sight of an object means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// Whether it is not as the last apply left it, and git is known.
    pub is_drift: bool,
    /// The GitSync whose object's health is another than before, or has done what it is for.
    pub health_of: Option<Arc<SyncId>>,
}

/// All pinned objects.
pub struct Pinned {
    /// They say whose tools' additions are drift.
    rules: Arc<Rules>,
    objects: Mutex<HashMap<ObjectKey, PinnedObject>>,
    /// GitSyncs of which something has done what it is for, and no inventory says so yet.
    done: Mutex<HashSet<SyncId>>,
    /// Of the objects that somebody writes.
    locks: Mutex<HashMap<ObjectKey, Arc<AsyncMutex<()>>>>,
}

impl Pinned {
    /// Nothing yet.
    pub fn new(rules: Arc<Rules>) -> Pinned {
        Pinned { rules, objects: Mutex::default(), done: Mutex::default(), locks: Mutex::default() }
    }

    /// Waits until nobody else writes this object. Whoever writes one holds this until the result is settled, so that
    /// the watch never takes our own write for drift.
    pub async fn lock(&self, key: &ObjectKey) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            if locks.len() > MANY_LOCKS {
                locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            }
            locks.entry(key.clone()).or_default().clone()
        };
        lock.lock_owned().await
    }

    /// Remembers an object of which only the inventory is known: git is not rendered yet.
    pub fn recall(&self, key: ObjectKey, sync: Arc<SyncId>, kind: Arc<Kind>, recalled: Recalled) {
        let Recalled { content, settled, done } = recalled;
        self.objects().entry(key).or_insert_with(|| PinnedObject {
            sync,
            kind,
            declared: None,
            content,
            settled,
            version: 0,
            live: None,
            health: Health::Progressing("it was not seen yet".to_owned()),
            done,
            is_scaled: false,
        });
    }

    /// Remembers the state in which an apply left the object. Whether that is another than the one before.
    pub fn settle(&self, key: &ObjectKey, of: Settled<'_>) {
        let settled = Fingerprint::of(of.applied, &self.rules.now().people);
        let object = PinnedObject {
            sync: of.sync,
            kind: of.kind,
            declared: Some(of.declared),
            content: of.content,
            settled,
            version: version(of.applied),
            live: Some(settled),
            health: health_of(of.applied, key),
            done: has_time_to_live(of.applied) && is_over(of.applied),
            // Who applies has asked what scales it.
            is_scaled: false,
        };
        self.objects().insert(key.clone(), object);
    }

    /// Remembers the state in which a heal left the object; unless it was forgotten meanwhile, or is let be.
    pub fn settle_healed(&self, key: &ObjectKey, sync: &SyncId, applied: &DynamicObject) {
        let settled = Fingerprint::of(applied, &self.rules.now().people);
        let mut objects = self.objects();
        let known = objects.get_mut(key).filter(|known| *known.sync == *sync && known.declared.is_some());
        if let Some(known) = known {
            (known.settled, known.live, known.version) = (settled, Some(settled), version(applied));
            known.health = health_of(applied, key);
        }
    }

    /// Whether the object is there as `content` declares it, so that nothing has to be written. Its place in the spool is
    /// `declared` from now on.
    pub fn keep(&self, key: &ObjectKey, sync: &SyncId, content: Content, declared: &Slice) -> bool {
        let mut objects = self.objects();
        let Some(object) = objects.get_mut(key).filter(|object| *object.sync == *sync) else { return false };
        // What has done its work and is gone stays gone, wherever in git it stands now.
        let is_over = object.done && object.live.is_none() && object.content.meaning == content.meaning;
        let is_kept = is_over || (object.is_in_sync() && object.content == content);
        if is_kept {
            object.declared = Some(declared.clone());
        }
        is_kept
    }

    /// An object was seen in a watch.
    pub fn see(&self, key: &ObjectKey, object: &DynamicObject) -> Sight {
        let seen_version = version(object);
        if self.objects().get(key).is_none_or(|known| seen_version < known.version) {
            return Sight::default();
        }
        let (seen, health) = (Fingerprint::of(object, &self.rules.now().people), health_of(object, key));
        let mut objects = self.objects();
        let Some(known) = objects.get_mut(key).filter(|known| seen_version >= known.version) else {
            return Sight::default();
        };
        let is_done = !known.done && has_time_to_live(object) && is_over(object);
        if is_done {
            known.done = true;
            self.done.lock().unwrap_or_else(PoisonError::into_inner).insert(SyncId::clone(&known.sync));
        }
        known.live = Some(seen);
        let health_of = (known.health != health || is_done).then(|| known.sync.clone());
        known.health = health;
        // An object on its way out is healed when it is gone; an apply before would not keep it.
        let is_dying = object.metadata.deletion_timestamp.is_some();
        Sight { is_drift: known.declared.is_some() && !is_dying && seen != known.settled, health_of }
    }

    /// An object is not there any more, or lost its label. Whether it has to be made again.
    pub fn miss(&self, key: &ObjectKey) -> Sight {
        let mut objects = self.objects();
        let Some(known) = objects.get_mut(key) else { return Sight::default() };
        known.live = None;
        if known.done {
            return Sight::default();
        }
        known.health = Health::Progressing("it is gone".to_owned());
        Sight { is_drift: known.declared.is_some(), health_of: Some(known.sync.clone()) }
    }

    /// Whether something of a GitSync has done what it is for since this was asked last.
    pub fn take_done(&self, sync: &SyncId) -> bool {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).remove(sync)
    }

    /// Something scales the object that git does not know.
    pub fn leave_replicas(&self, key: &ObjectKey) {
        if let Some(known) = self.objects().get_mut(key) {
            known.is_scaled = true;
        }
    }

    /// Whether this state is one that has to be healed.
    pub fn is_news(&self, object: &DynamicObject, known: &PinnedObject) -> bool {
        version(object) > known.version && self.is_other(object, known)
    }

    /// Whether an object that was seen is not as the last apply left it.
    pub fn is_other(&self, object: &DynamicObject, known: &PinnedObject) -> bool {
        Fingerprint::of(object, &self.rules.now().people) != known.settled
    }

    /// The object, where it is pinned.
    pub fn get(&self, key: &ObjectKey) -> Option<PinnedObject> {
        self.objects().get(key).cloned()
    }

    /// Forgets an object: it is not healed any more.
    pub fn forget(&self, key: &ObjectKey) {
        self.objects().remove(key);
    }

    /// Forgets an object where it is this GitSync's.
    pub fn forget_of(&self, key: &ObjectKey, sync: &SyncId) {
        self.objects().retain(|known, object| known != key || *object.sync != *sync);
    }

    /// Nothing of a GitSync is healed until it is applied again.
    pub fn let_be(&self, sync: &SyncId) {
        self.objects().values_mut().filter(|object| *object.sync == *sync).for_each(|object| object.declared = None);
    }

    /// Forgets all objects of a GitSync.
    pub fn forget_sync(&self, sync: &SyncId) {
        self.objects().retain(|_, object| *object.sync != *sync);
    }

    /// The pinned objects of a kind.
    pub fn of_kind(&self, group: &str, kind: &str) -> Vec<ObjectKey> {
        self.objects().keys().filter(|key| key.group == group && key.kind == kind).cloned().collect()
    }

    /// Whether an object of a kind is pinned.
    pub fn holds(&self, group: &str, kind: &str) -> bool {
        self.objects().keys().any(|key| key.group == group && key.kind == kind)
    }

    /// Runs over the objects of a GitSync.
    pub fn each_of(&self, sync: &SyncId, mut each: impl FnMut(&ObjectKey, &PinnedObject)) {
        self.objects().iter().filter(|(_, object)| *object.sync == *sync).for_each(|(key, object)| each(key, object));
    }

    fn objects(&self) -> MutexGuard<'_, HashMap<ObjectKey, PinnedObject>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an inventory knows of the state of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recalled {
    /// What git declared.
    pub content: Content,
    /// The state in which the last apply left it.
    pub settled: Fingerprint,
    /// Whether it has done what it is for.
    pub done: bool,
}

/// The outcome of an apply.
pub struct Settled<'a> {
    /// The GitSync that declares the object.
    pub sync: Arc<SyncId>,
    /// Its kind.
    pub kind: Arc<Kind>,
    /// The declared object.
    pub declared: Slice,
    /// Its hashes.
    pub content: Content,
    /// The object as it is stored.
    pub applied: &'a DynamicObject,
}

/// The API server's count of an object's state (comparable since Kubernetes 1.35, KEP-5504; in practice always).
pub(super) fn version(object: &DynamicObject) -> u64 {
    object.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

/// The health of a live object. Only what health depends on is looked at: the data of a ConfigMap may be large.
pub fn health_of(object: &DynamicObject, key: &ObjectKey) -> Health {
    let version = if key.group.is_empty() { "v1".to_owned() } else { format!("{}/v1", key.group) };
    let mut small =
        json!({"apiVersion": version, "kind": key.kind, "metadata": {"generation": object.metadata.generation}});
    if object.metadata.deletion_timestamp.is_some() {
        small["metadata"]["deletionTimestamp"] = json!("set");
    }
    for part in ["spec", "status"] {
        if let Some(value) = object.data.get(part) {
            small[part] = value.clone();
        }
    }
    health(&small)
}

fn has_time_to_live(object: &DynamicObject) -> bool {
    object.data.pointer("/spec/ttlSecondsAfterFinished").is_some_and(Value::is_number)
}

fn is_over(object: &DynamicObject) -> bool {
    let conditions = object.data.pointer("/status/conditions").and_then(Value::as_array);
    conditions
        .into_iter()
        .flatten()
        .any(|c| (c["type"] == "Complete" || c["type"] == "Failed") && c["status"] == "True")
}
