//! Inventories: what each GitSync has created, stored before it is created, so that nothing is ever orphaned; and the state
//! in which each object was left, so that a restart over unchanged objects writes nothing.
//!
//! ConfigMaps in gitward's own namespace (whoever could edit one elsewhere could have things pruned), split where one
//! would be too large. In memory for all GitSyncs: there is one writer.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use gitward_core::plan::ObjectKey;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::Mutex;

use crate::api::SyncId;
use crate::kubernetes::{MANAGER, describe};
use crate::observe::{Content, Recalled};

/// Label of the ConfigMaps: the GitSync's name.
const SYNC: &str = "gitward.dev/inventory";
/// Label of the ConfigMaps: the GitSync's namespace.
const SYNC_NAMESPACE: &str = "gitward.dev/inventory-namespace";
/// Annotation of the ConfigMaps: the GitSync's uid. Another one of the same name has created nothing of this.
const SYNC_UID: &str = "gitward.dev/inventory-uid";
/// Annotation of the ConfigMaps: that the objects are being deleted, as JSON of [`Deletes`].
const DELETES: &str = "gitward.dev/inventory-deletes";
/// How many objects one ConfigMap lists. An object may have 1 MiB; a line has some 700 bytes at the very most, and a part may hold
/// twice as many while lines move.
const PER_PART: usize = 700;
const OBJECTS: &str = "objects";

/// The API server failed to read or store an inventory.
#[derive(Debug, Error)]
#[error("the inventory cannot be read or stored: {}", describe(.0))]
pub struct InventoryError(#[from] Box<kube::Error>);

impl From<kube::Error> for InventoryError {
    fn from(error: kube::Error) -> InventoryError {
        InventoryError(Box::new(error))
    }
}

/// What is known of an object that a GitSync has created.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The API version in which it was last applied.
    pub api_version: String,
    /// Whether it is a hook, which is never healed.
    pub is_hook: bool,
    /// The state in which it was left, where that is known.
    pub state: Option<Recalled>,
}

/// What a GitSync has created.
pub type Inventory = BTreeMap<ObjectKey, Record>;

/// Whose an inventory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The GitSync's uid.
    pub uid: String,
    /// Where it is gone, and was seen to go with its objects.
    pub deletes: Option<Deletes>,
}

/// That the objects of a GitSync are being deleted. It is written down when the GitSync was seen to go: whoever comes back from a crash
/// goes on with it. What is merely not there, after a restore say, deletes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deletes {
    /// The service account that the GitSync named.
    pub account: Option<String>,
}

/// All inventories.
pub struct Inventories {
    api: Api<ConfigMap>,
    by_sync: Mutex<HashMap<SyncId, Inventory>>,
    /// Whose each is, where that is known.
    owners: Mutex<HashMap<SyncId, Owner>>,
}

impl Inventories {
    /// None is known yet.
    pub fn new(client: Client, namespace: &str) -> Inventories {
        Inventories { api: Api::namespaced(client, namespace), by_sync: Mutex::default(), owners: Mutex::default() }
    }

    /// Reads what is stored.
    ///
    /// # Errors
    /// Where the API server fails.
    pub async fn load(&self) -> Result<(), InventoryError> {
        let mut by_sync: HashMap<SyncId, Inventory> = HashMap::new();
        let mut owners = HashMap::new();
        for part in self.api.list(&ListParams::default().labels(SYNC)).await? {
            let label = |key: &str| part.labels().get(key).cloned();
            let Some((name, namespace)) = label(SYNC).zip(label(SYNC_NAMESPACE)) else { continue };
            let lines = part.data.as_ref().and_then(|data| data.get(OBJECTS)).map(String::as_str).unwrap_or_default();
            let id = SyncId { namespace, name };
            if let Some(uid) = part.annotations().get(SYNC_UID) {
                let deletes = part.annotations().get(DELETES).and_then(|text| serde_json::from_str(text).ok());
                owners.insert(id.clone(), Owner { uid: uid.clone(), deletes });
            }
            by_sync.entry(id).or_default().extend(lines.lines().filter_map(parse));
        }
        (*self.by_sync.lock().await, *self.owners.lock().await) = (by_sync, owners);
        Ok(())
    }

    /// Whose an inventory is, where that is known.
    pub async fn owner(&self, sync: &SyncId) -> Option<Owner> {
        self.owners.lock().await.get(sync).cloned()
    }

    /// From now on the inventory is this one's.
    ///
    /// # Errors
    /// Where the API server fails.
    pub async fn belongs_to(&self, sync: &SyncId, owner: Owner) -> Result<(), InventoryError> {
        if self.owner(sync).await.as_ref() != Some(&owner) {
            let stored = parts(&self.get(sync).await);
            self.write(sync, Some(&owner), &[], &stored).await?;
            self.owners.lock().await.insert(sync.clone(), owner);
        }
        Ok(())
    }

    /// The inventory of a GitSync.
    pub async fn get(&self, sync: &SyncId) -> Inventory {
        self.by_sync.lock().await.get(sync).cloned().unwrap_or_default()
    }

    /// How many objects a GitSync has created, hooks apart.
    pub async fn count(&self, sync: &SyncId) -> usize {
        let all = self.by_sync.lock().await;
        all.get(sync).map_or(0, |inventory| inventory.values().filter(|record| !record.is_hook).count())
    }

    /// The GitSyncs that have created something.
    pub async fn syncs(&self) -> BTreeSet<SyncId> {
        self.by_sync.lock().await.keys().cloned().collect()
    }

    /// All of them.
    pub async fn all(&self) -> Vec<(SyncId, Inventory)> {
        self.by_sync.lock().await.iter().map(|(sync, inventory)| (sync.clone(), inventory.clone())).collect()
    }

    /// The GitSyncs, other than `sync`, that have created the object: more than one while one that is gone is cleaned up after.
    pub async fn other_owners(&self, sync: &SyncId, key: &ObjectKey) -> Vec<SyncId> {
        let all = self.by_sync.lock().await;
        let others = all.iter().filter(|(id, inventory)| *id != sync && inventory.contains_key(key));
        others.map(|(id, _)| id.clone()).collect()
    }

    /// What all GitSyncs have created, each with its API version.
    pub async fn objects(&self) -> BTreeMap<ObjectKey, String> {
        let all = self.by_sync.lock().await;
        all.values().flatten().map(|(key, record)| (key.clone(), record.api_version.clone())).collect()
    }

    /// Stores an inventory; an empty one is removed.
    ///
    /// # Errors
    /// Where the API server fails. What was stored before stays then.
    pub async fn store(&self, sync: &SyncId, inventory: Inventory) -> Result<(), InventoryError> {
        // A GitSync is carried out by one at a time; the others are not kept waiting for the API server.
        let stored = self.by_sync.lock().await.get(sync).cloned().unwrap_or_default();
        if stored == inventory {
            return Ok(());
        }
        let owner = self.owner(sync).await;
        let (before, after) = (parts(&stored), parts(&inventory));
        if after.len() > 1 {
            // A line that moves to another part is in both for a moment: whoever comes back from a crash finds it.
            self.write(sync, owner.as_ref(), &before, &union(&before, &after)).await?;
        }
        self.write(sync, owner.as_ref(), &before, &after).await?;
        let selector = format!("{SYNC}={},{SYNC_NAMESPACE}={}", sync.name, sync.namespace);
        let listed = self.api.list_metadata(&ListParams::default().labels(&selector)).await?;
        let wanted: BTreeSet<String> = (0..after.len()).map(|index| part_name(sync, index)).collect();
        for part in listed.items.iter().map(ResourceExt::name_any).filter(|name| !wanted.contains(name)) {
            self.api.delete(&part, &DeleteParams::default()).await?;
        }
        let mut all = self.by_sync.lock().await;
        if inventory.is_empty() {
            all.remove(sync);
            self.owners.lock().await.remove(sync);
        } else {
            all.insert(sync.clone(), inventory);
        }
        Ok(())
    }

    /// Writes the parts that are not as before.
    async fn write(
        &self,
        sync: &SyncId,
        owner: Option<&Owner>,
        before: &[String],
        after: &[String],
    ) -> Result<(), InventoryError> {
        for (index, part) in after.iter().enumerate().filter(|(index, part)| before.get(*index) != Some(part)) {
            let name = part_name(sync, index);
            let part = config_map(sync, owner, &name, part.clone());
            self.api.patch(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&part)).await?;
        }
        Ok(())
    }
}

/// Each part with what it held and what it will hold.
fn union(before: &[String], after: &[String]) -> Vec<String> {
    let both = |(index, part): (usize, &String)| {
        let key = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
        let new: BTreeSet<String> = part.lines().map(key).collect();
        let old = before.get(index).map(String::as_str).unwrap_or_default();
        let gone = old.lines().filter(|line| !new.contains(&key(line))).map(|line| format!("{line}\n"));
        gone.fold(part.clone(), |all, line| all + &line)
    };
    after.iter().enumerate().map(both).collect()
}

fn parts(inventory: &Inventory) -> Vec<String> {
    let lines: Vec<String> = inventory.iter().map(|(key, record)| line(key, record)).collect();
    lines.chunks(PER_PART).map(<[String]>::concat).collect()
}

/// No namespace has a dot in its name.
fn part_name(sync: &SyncId, index: usize) -> String {
    format!("gitward-inventory-{}.{}-{index}", sync.namespace, sync.name)
}

fn config_map(sync: &SyncId, owner: Option<&Owner>, name: &str, objects: String) -> ConfigMap {
    let labels = [(SYNC, &sync.name), (SYNC_NAMESPACE, &sync.namespace)];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.clone()));
    let annotations = owner.map(|owner| {
        let deletes = owner.deletes.as_ref().and_then(|deletes| serde_json::to_string(deletes).ok());
        let deletes = deletes.map(|deletes| (DELETES.to_owned(), deletes));
        deletes.into_iter().chain([(SYNC_UID.to_owned(), owner.uid.clone())]).collect()
    });
    let labels = Some(labels.into());
    let metadata = ObjectMeta { name: Some(name.to_owned()), labels, annotations, ..ObjectMeta::default() };
    ConfigMap { metadata, data: Some([(OBJECTS.to_owned(), objects)].into()), ..ConfigMap::default() }
}

/// A line: the pinned-id, the API version, and what is known of the state. Kubernetes allows no space in any of them.
fn line(key: &ObjectKey, record: &Record) -> String {
    let version = &record.api_version;
    match &record.state {
        _ if record.is_hook => format!("{key} {version} hook\n"),
        None => format!("{key} {version}\n"),
        Some(Recalled { content, settled, done }) => {
            let over = if *done { " done" } else { "" };
            format!("{key} {version} {} {} {settled}{over}\n", content.whole, content.meaning)
        }
    }
}

fn parse(line: &str) -> Option<(ObjectKey, Record)> {
    let mut words = line.split(' ');
    let (key, api_version) = (words.next()?.parse().ok()?, words.next()?.to_owned());
    let words: Vec<&str> = words.collect();
    let state = match words.as_slice() {
        [whole, meaning, settled, over @ ..] => {
            let content =
                whole.parse().ok().zip(meaning.parse().ok()).map(|(whole, meaning)| Content { whole, meaning });
            let done = over == ["done"];
            content.zip(settled.parse().ok()).map(|(content, settled)| Recalled { content, settled, done })
        }
        _ => None,
    };
    Some((key, Record { api_version, is_hook: words == ["hook"], state }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Fingerprint;

    #[test]
    fn a_line_reads_back() {
        let [a, b, c] = ["a", "b", "c"].map(|text| Fingerprint::of_bytes(text.as_bytes()));
        let recalled = |done| Recalled { content: Content { whole: a, meaning: b }, settled: c, done };
        for (is_hook, state) in
            [(false, None), (true, None), (false, Some(recalled(true))), (false, Some(recalled(false)))]
        {
            let record = Record { api_version: "apps/v1".into(), is_hook, state };
            let key: ObjectKey = "apps/Deployment:shop/web".parse().unwrap();
            assert_eq!(parse(line(&key, &record).trim_end()), Some((key, record)));
        }
    }

    #[test]
    fn while_lines_move_each_is_in_a_part_that_is_written_first() {
        let parts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let (before, after) = (parts(&["/X:s/b v1\n/X:s/c v1\n"]), parts(&["/X:s/a v1\n/X:s/b v2\n", "/X:s/c v1\n"]));
        assert_eq!(union(&before, &after), parts(&["/X:s/a v1\n/X:s/b v2\n/X:s/c v1\n", "/X:s/c v1\n"]));
    }

    #[test]
    fn a_line_that_somebody_broke_still_names_its_object() {
        let (key, record) = parse("/ConfigMap:shop/a v1 x y").unwrap();
        assert_eq!((key.name.as_str(), record.state), ("a", None));
        assert_eq!(parse("nothing"), None);
    }
}
