//! Objects with fields that cannot be changed in place: deleted and made anew, where git allows it.

use std::time::Duration;

use gitward_core::plan::ObjectKey;
use kube::api::{Api, DynamicObject, PostParams};
use serde_json::{Value, json};

use super::ApplyError;
use super::write::{apply, get, remove_and_wait};
use crate::kubernetes::describe;

/// The annotation by which git allows it.
const REPLACE: &str = "gitward.dev/replace";
/// How long the deletion may take.
const GONE: Duration = Duration::from_secs(60);
/// What API servers say of a field that cannot be changed.
const SAYS: [&str; 4] = ["immutable", "cannot change roleRef", "updates to statefulset spec", "may not change fields"];

/// Kinds that take everything of theirs with them.
const NEVER: [&str; 2] = ["Namespace", "CustomResourceDefinition"];

/// Whether git allows the object to be replaced.
pub(super) fn is_replaceable(object: &Value) -> bool {
    let holds = NEVER.iter().any(|kind| object["kind"] == *kind);
    object["metadata"]["annotations"][REPLACE] == "allow" && !holds
}

/// Whether the API server refused to change a field in place.
pub(super) fn is_immutable(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 422 && SAYS.iter().any(|says| status.message.contains(says)))
}

/// Applies an object; where it cannot be changed in place it is deleted and made anew, as `whole`.
pub(super) async fn apply_or_replace(
    api: &Api<DynamicObject>,
    key: &ObjectKey,
    object: &Value,
    whole: &Value,
) -> Result<DynamicObject, ApplyError> {
    match apply(api, key, object).await {
        Err(ApplyError::Immutable(_)) => {}
        ended => return ended,
    }
    could_be_made(api, whole).await?;
    if let Some(live) = get(api, key).await? {
        remove_and_wait(api, key, &live, GONE).await?;
    }
    apply(api, key, whole).await
}

/// Whether the API server would accept the object under another name: what cannot be made anew is not deleted. A Service's
/// addresses and ports are taken while the old one is there, and the name of an APIService says what it is: nothing can be tried
/// for them.
async fn could_be_made(api: &Api<DynamicObject>, whole: &Value) -> Result<(), ApplyError> {
    if whole["kind"] == "Service" || whole["kind"] == "APIService" {
        return Ok(());
    }
    let mut other = whole.clone();
    if let Some(metadata) = other["metadata"].as_object_mut() {
        metadata.remove("name");
        metadata.insert("generateName".to_owned(), json!("gitward-try-"));
    }
    let Ok(other) = serde_json::from_value::<DynamicObject>(other) else { return Ok(()) };
    let params = PostParams { dry_run: true, ..PostParams::default() };
    match api.create(&params, &other).await {
        Err(error @ kube::Error::Api(_)) => {
            Err(ApplyError::Immutable(format!("it could not be made anew: {}", describe(&error))))
        }
        Err(error) => Err(error.into()),
        Ok(_) => Ok(()),
    }
}
