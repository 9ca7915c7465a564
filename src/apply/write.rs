//! The writes themselves. The only code of gitward that writes what git declares.

use std::time::Duration;

use gitward_core::names;
use gitward_core::plan::ObjectKey;
use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use serde_json::{Value, json};

use super::replace::is_immutable;
use super::{ApplyError, Kind};
use crate::api::SyncId;
use crate::kubernetes::{MANAGER, describe, is_status};

/// How long a CRD may take until its objects are served.
const ESTABLISH: Duration = Duration::from_secs(30);
/// How often a deletion is tried while the object changes.
const TRIES: u32 = 5;
/// Annotations by which an object asks not to be pruned: gitward's, and those of Helm, Argo CD and Flux.
const KEEP: [(&str, &str); 4] = [
    ("gitward.dev/prune", "disabled"),
    ("helm.sh/resource-policy", "keep"),
    ("argocd.argoproj.io/sync-options", "Prune=false"),
    ("kustomize.toolkit.fluxcd.io/prune", "disabled"),
];

/// Applies a marked object, by force: git wins over every other manager. Returns it as it is stored.
pub(super) async fn apply(
    api: &Api<DynamicObject>,
    key: &ObjectKey,
    object: &Value,
) -> Result<DynamicObject, ApplyError> {
    let params = PatchParams::apply(MANAGER).force();
    let applied = api
        .patch(&key.name, &params, &Patch::Apply(object))
        .await
        .map_err(|error| if is_immutable(&error) { ApplyError::Immutable(describe(&error)) } else { error.into() })?;
    if key.kind == "CustomResourceDefinition" && !is_established(&applied) {
        return wait_established(api, &key.name).await;
    }
    Ok(applied)
}

/// Custom resources can only be applied when their definition is served.
async fn wait_established(api: &Api<DynamicObject>, name: &str) -> Result<DynamicObject, ApplyError> {
    let poll = async {
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let crd = api.get(name).await?;
            if is_established(&crd) {
                return Ok(crd);
            }
        }
    };
    let waited = tokio::time::timeout(ESTABLISH, poll).await;
    waited.unwrap_or(Err(ApplyError::NotEstablished(ESTABLISH.as_secs())))
}

fn is_established(crd: &DynamicObject) -> bool {
    let conditions = crd.data.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|c| c["type"] == "Established" && c["status"] == "True")
}

/// The live object.
///
/// # Errors
/// Where the API server refuses or fails.
pub async fn get(api: &Api<DynamicObject>, key: &ObjectKey) -> Result<Option<DynamicObject>, ApplyError> {
    Ok(api.get_opt(&key.name).await?)
}

/// Deletes a live object as it was seen, and what belongs to it. One that is gone is none.
///
/// # Errors
/// Where it has changed meanwhile, or the API server refuses or fails.
pub async fn remove(api: &Api<DynamicObject>, key: &ObjectKey, live: &DynamicObject) -> Result<(), ApplyError> {
    let preconditions =
        Preconditions { uid: live.metadata.uid.clone(), resource_version: live.metadata.resource_version.clone() };
    let params = DeleteParams::background().preconditions(preconditions);
    ignore_gone(api.delete(&key.name, &params).await.map(|_| ()))
}

/// Deletes a live object as it was seen, and waits until its name is free.
///
/// # Errors
/// As [`remove`], and where it is not gone after `patience`.
pub async fn remove_and_wait(
    api: &Api<DynamicObject>,
    key: &ObjectKey,
    live: &DynamicObject,
    patience: Duration,
) -> Result<(), ApplyError> {
    remove(api, key, live).await?;
    let gone = async {
        while get(api, key).await?.is_some() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    };
    tokio::time::timeout(patience, gone).await.map_err(|_| ApplyError::StillThere(patience.as_secs()))?
}

/// What became of an object that is to be pruned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pruned {
    /// It is deleted, or on its way.
    Deleted,
    /// It was gone, or is not ours any more.
    NotOurs,
    /// It asks to be kept, and is nobody's now.
    Kept,
}

/// Deletes an object of a GitSync that git no longer declares. Only where the live object itself says that it is this
/// GitSync's: the inventory alone is no proof. One that has annotations which ask for it is kept and released.
///
/// # Errors
/// Where the API server refuses or fails.
pub async fn prune(client: &Client, kind: &Kind, key: &ObjectKey, sync: &SyncId) -> Result<Pruned, ApplyError> {
    let api = kind.api(client, &key.namespace);
    let mut tries = 0;
    loop {
        let Some(live) = get(&api, key).await? else { return Ok(Pruned::NotOurs) };
        if !is_of(&live, key, sync) {
            return Ok(Pruned::NotOurs);
        }
        if asks_to_stay(&live) {
            return release(client, kind, key, sync).await.map(|()| Pruned::Kept);
        }
        tries += 1;
        match remove(&api, key, &live).await {
            // Its controller wrote the status meanwhile.
            Err(ApplyError::Api(error)) if is_status(&error, 409) && tries < TRIES => {}
            ended => return ended.map(|()| Pruned::Deleted),
        }
    }
}

fn asks_to_stay(live: &DynamicObject) -> bool {
    let annotations = live.metadata.annotations.as_ref();
    KEEP.iter().any(|(key, value)| {
        let text = annotations.and_then(|annotations| annotations.get(*key));
        text.is_some_and(|text| text.split(',').any(|part| part.trim() == *value))
    })
}

fn is_of(live: &DynamicObject, key: &ObjectKey, sync: &SyncId) -> bool {
    let label = |key| live.metadata.labels.as_ref().and_then(|labels| labels.get(key));
    let id = live.metadata.annotations.as_ref().and_then(|annotations| annotations.get(names::PINNED_ID));
    label(names::SYNC_NAMESPACE) == Some(&sync.namespace)
        && label(names::SYNC_NAME) == Some(&sync.name)
        && id.is_some_and(|id| *id == key.to_string())
}

/// Takes gitward's marks off an object, so that it is nobody's and stays as it is.
///
/// # Errors
/// Where the API server refuses or fails.
pub async fn release(client: &Client, kind: &Kind, key: &ObjectKey, sync: &SyncId) -> Result<(), ApplyError> {
    let api = kind.api(client, &key.namespace);
    let Some(live) = get(&api, key).await? else { return Ok(()) };
    if !is_of(&live, key, sync) {
        return Ok(());
    }
    let patch = json!({"metadata": {
        "labels": {names::SYNC_NAMESPACE: null, names::SYNC_NAME: null},
        "annotations": {names::PINNED_ID: null, names::ORIGIN: null},
    }});
    ignore_gone(api.patch(&key.name, &PatchParams::default(), &Patch::Merge(&patch)).await.map(|_| ()))
}

pub(super) fn ignore_gone(result: Result<(), kube::Error>) -> Result<(), ApplyError> {
    match result {
        Err(error) if !is_status(&error, 404) => Err(error.into()),
        _ => Ok(()),
    }
}
