//! The label on Namespaces and definitions that hold pinned objects without being declared in git themselves.

use gitward_core::names;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use super::ApplyError;
use super::write::ignore_gone;

/// The manager of the label on holders that git does not declare.
const HOLDER_MANAGER: &str = "gitward-holder";

/// What holds pinned objects without being declared in git itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// A namespace, by its name.
    Namespace(String),
    /// A CustomResourceDefinition, by its name: `<plural>.<group>`.
    Definition(String),
}

/// Labels a holder of pinned objects, or takes the label off; where it is so already, nothing is written. One that does not
/// exist is none.
///
/// # Errors
/// Where the API server refuses or fails.
pub async fn guard_holder(client: &Client, holder: &Holder, guarded: bool) -> Result<(), ApplyError> {
    let (resource, name) = match holder {
        Holder::Namespace(name) => (ApiResource::erase::<Namespace>(&()), name),
        Holder::Definition(name) => (ApiResource::erase::<CustomResourceDefinition>(&()), name),
    };
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let Some(live) = api.get_metadata_opt(name).await? else { return Ok(()) };
    let is =
        live.metadata.labels.as_ref().is_some_and(|labels| labels.get(names::GUARDED).is_some_and(|v| v == "true"));
    if is == guarded {
        return Ok(());
    }
    let value = if guarded { json!("true") } else { Value::Null };
    let patch = json!({"metadata": {"labels": {names::GUARDED: value}}});
    let params = PatchParams { field_manager: Some(HOLDER_MANAGER.to_owned()), ..PatchParams::default() };
    ignore_gone(api.patch_metadata(name, &params, &Patch::Merge(&patch)).await.map(|_| ()))
}
