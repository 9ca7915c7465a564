//! The writes themselves. The only code of gitward that writes what git declares.

use std::time::Duration;

use gitward_core::names;
use gitward_core::plan::ObjectKey;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use serde_json::{Value, json};

use super::{ApplyError, Kind};
use crate::kubernetes::{MANAGER, is_status};

/// The manager of the label on holders that git does not declare.
const HOLDER_MANAGER: &str = "gitward-holder";
/// How long a CRD may take until its objects are served.
const ESTABLISH: Duration = Duration::from_secs(30);

/// Applies a marked object, by force: git wins over every other manager. Returns it as it is stored.
///
/// # Errors
/// Where the API server refuses or fails.
pub async fn apply(client: &Client, kind: &Kind, key: &ObjectKey, object: &Value) -> Result<DynamicObject, ApplyError> {
    let api = kind.api(client, &key.namespace);
    let params = PatchParams::apply(MANAGER).force();
    let applied = api.patch(&key.name, &params, &Patch::Apply(object)).await?;
    if key.kind == "CustomResourceDefinition" && !is_established(&applied) {
        return wait_established(&api, &key.name).await;
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

/// What became of an object that is to be pruned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pruned {
    /// It is deleted, or on its way.
    Deleted,
    /// It was gone, or is not ours any more.
    NotOurs,
}

/// Deletes an object of a GitSync that git no longer declares. Only where the live object itself says that it is this
/// GitSync's: the inventory alone is no proof.
///
/// # Errors
/// Where the API server refuses or fails.
pub async fn prune(client: &Client, kind: &Kind, key: &ObjectKey, sync: (&str, &str)) -> Result<Pruned, ApplyError> {
    let api = kind.api(client, &key.namespace);
    let Some(live) = api.get_opt(&key.name).await? else { return Ok(Pruned::NotOurs) };
    if !is_of(&live, key, sync) {
        return Ok(Pruned::NotOurs);
    }
    let preconditions = Preconditions { uid: live.metadata.uid, resource_version: live.metadata.resource_version };
    let params = DeleteParams::background().preconditions(preconditions);
    match api.delete(&key.name, &params).await {
        Ok(_) => Ok(Pruned::Deleted),
        Err(error) if is_status(&error, 404) => Ok(Pruned::Deleted),
        Err(error) => Err(error.into()),
    }
}

fn is_of(live: &DynamicObject, key: &ObjectKey, (namespace, name): (&str, &str)) -> bool {
    let label = |key| live.metadata.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str);
    let id = live.metadata.annotations.as_ref().and_then(|annotations| annotations.get(names::PINNED_ID));
    label(names::SYNC_NAMESPACE) == Some(namespace)
        && label(names::SYNC_NAME) == Some(name)
        && id.is_some_and(|id| *id == key.to_string())
}

/// Takes gitward's marks off an object, so that it is nobody's and stays as it is.
///
/// # Errors
/// Where the API server refuses or fails.
pub async fn release(client: &Client, kind: &Kind, key: &ObjectKey, sync: (&str, &str)) -> Result<(), ApplyError> {
    let api = kind.api(client, &key.namespace);
    let Some(live) = api.get_opt(&key.name).await? else { return Ok(()) };
    if !is_of(&live, key, sync) {
        return Ok(());
    }
    let patch = json!({"metadata": {
        "labels": {names::SYNC_NAMESPACE: null, names::SYNC_NAME: null, names::GUARDED: null},
        "annotations": {names::PINNED_ID: null, names::ORIGIN: null},
    }});
    ignore_gone(api.patch(&key.name, &PatchParams::default(), &Patch::Merge(&patch)).await.map(|_| ()))
}

/// What holds pinned objects without being declared in git itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// A namespace, by its name.
    Namespace(String),
    /// A CustomResourceDefinition, by its name: `<plural>.<group>`.
    Definition(String),
}

/// Labels a holder of pinned objects, or takes the label off. One that does not exist is none.
///
/// # Errors
/// Where the API server refuses or fails.
pub async fn guard_holder(client: &Client, holder: &Holder, guarded: bool) -> Result<(), ApplyError> {
    let (resource, name) = match holder {
        Holder::Namespace(name) => (ApiResource::erase::<Namespace>(&()), name),
        Holder::Definition(name) => (ApiResource::erase::<CustomResourceDefinition>(&()), name),
    };
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let value = if guarded { json!("true") } else { Value::Null };
    let patch = json!({"metadata": {"labels": {names::GUARDED: value}}});
    let params = PatchParams { field_manager: Some(HOLDER_MANAGER.to_owned()), ..PatchParams::default() };
    ignore_gone(api.patch_metadata(name, &params, &Patch::Merge(&patch)).await.map(|_| ()))
}

fn ignore_gone(result: Result<(), kube::Error>) -> Result<(), ApplyError> {
    match result {
        Err(error) if !is_status(&error, 404) => Err(error.into()),
        _ => Ok(()),
    }
}
