//! Inventories: what each GitSync has created, stored before it is created, so that nothing is ever orphaned.
//!
//! ConfigMaps in gitward's own namespace (whoever could edit one elsewhere could have things pruned), split where one
//! would be too large. In memory for all GitSyncs: there is one writer.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use gitward_core::plan::ObjectKey;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams};
use kube::{Client, ResourceExt};
use thiserror::Error;
use tokio::sync::Mutex;

use crate::kubernetes::{MANAGER, describe};

/// Label of the ConfigMaps: the GitSync's name.
const SYNC: &str = "gitward.dev/inventory";
/// How many objects one ConfigMap lists. An object may have 1 MiB; a line has some 600 bytes at the very most.
const PER_PART: usize = 1500;
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

/// What a GitSync has created: each object with the API version in which it was last applied.
pub type Inventory = BTreeMap<ObjectKey, String>;

/// All inventories.
pub struct Inventories {
    api: Api<ConfigMap>,
    by_sync: Mutex<HashMap<String, Inventory>>,
}

impl Inventories {
    /// Reads what is stored.
    ///
    /// # Errors
    /// Where the API server fails.
    pub async fn load(client: Client, namespace: &str) -> Result<Inventories, InventoryError> {
        let api: Api<ConfigMap> = Api::namespaced(client, namespace);
        let mut by_sync: HashMap<String, Inventory> = HashMap::new();
        for part in api.list(&ListParams::default().labels(SYNC)).await? {
            let Some(sync) = part.labels().get(SYNC) else { continue };
            let lines = part.data.as_ref().and_then(|data| data.get(OBJECTS)).map(String::as_str).unwrap_or_default();
            by_sync.entry(sync.clone()).or_default().extend(lines.lines().filter_map(parse));
        }
        Ok(Inventories { api, by_sync: Mutex::new(by_sync) })
    }

    /// The inventory of a GitSync.
    pub async fn get(&self, sync: &str) -> Inventory {
        self.by_sync.lock().await.get(sync).cloned().unwrap_or_default()
    }

    /// The GitSync, other than `sync`, that has created the object.
    pub async fn other_owner(&self, sync: &str, key: &ObjectKey) -> Option<String> {
        let all = self.by_sync.lock().await;
        all.iter().find(|(name, inventory)| *name != sync && inventory.contains_key(key)).map(|(name, _)| name.clone())
    }

    /// What all GitSyncs have created.
    pub async fn objects(&self) -> Inventory {
        let all = self.by_sync.lock().await;
        all.values().flatten().map(|(key, version)| (key.clone(), version.clone())).collect()
    }

    /// Stores an inventory; an empty one is removed.
    ///
    /// # Errors
    /// Where the API server fails. What was stored before stays then.
    pub async fn store(&self, sync: &str, inventory: Inventory) -> Result<(), InventoryError> {
        let mut all = self.by_sync.lock().await;
        if all.get(sync) == Some(&inventory) || (inventory.is_empty() && !all.contains_key(sync)) {
            return Ok(());
        }
        let lines: Vec<String> = inventory.iter().map(|(key, version)| format!("{key} {version}\n")).collect();
        let parts: Vec<String> = lines.chunks(PER_PART).map(<[String]>::concat).collect();
        for (index, part) in parts.iter().enumerate() {
            let name = part_name(sync, index);
            let part = config_map(sync, &name, part.clone());
            self.api.patch(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&part)).await?;
        }
        let listed = self.api.list_metadata(&ListParams::default().labels(&format!("{SYNC}={sync}"))).await?;
        let wanted: BTreeSet<String> = (0..parts.len()).map(|index| part_name(sync, index)).collect();
        for part in listed.items.iter().map(ResourceExt::name_any).filter(|name| !wanted.contains(name)) {
            self.api.delete(&part, &DeleteParams::default()).await?;
        }
        if inventory.is_empty() {
            all.remove(sync);
        } else {
            all.insert(sync.to_owned(), inventory);
        }
        Ok(())
    }
}

fn part_name(sync: &str, index: usize) -> String {
    format!("gitward-inventory-{sync}-{index}")
}

fn config_map(sync: &str, name: &str, objects: String) -> ConfigMap {
    let labels = Some([(SYNC.to_owned(), sync.to_owned())].into());
    let metadata = ObjectMeta { name: Some(name.to_owned()), labels, ..ObjectMeta::default() };
    ConfigMap { metadata, data: Some([(OBJECTS.to_owned(), objects)].into()), ..ConfigMap::default() }
}

/// A line: the pinned-id and the API version. Kubernetes allows no space in either.
fn parse(line: &str) -> Option<(ObjectKey, String)> {
    let (key, version) = line.split_once(' ')?;
    Some((key.parse().ok()?, version.to_owned()))
}
