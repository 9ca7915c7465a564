//! The admission policies and their bindings: put back as the chart made them. The API server asks nobody about a change
//! of these.

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, ValidatingAdmissionPolicyBindingSpec,
    ValidatingAdmissionPolicySpec,
};
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tracing::{info, warn};

use super::{HELM, ProtectError};
use crate::kubernetes::has_all;

/// Puts them back.
pub(super) async fn keep(client: &Client, copies: Vec<Value>, owners: &Value) -> Result<(), ProtectError> {
    for mut copy in copies {
        let text = |pointer| copy.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (kind, name) = (text("/kind").to_owned(), text("/metadata/name").to_owned());
        let resource = match kind.as_str() {
            "ValidatingAdmissionPolicy" => ApiResource::erase::<ValidatingAdmissionPolicy>(&()),
            "ValidatingAdmissionPolicyBinding" => ApiResource::erase::<ValidatingAdmissionPolicyBinding>(&()),
            // A document of comments.
            _ => continue,
        };
        copy["metadata"]["ownerReferences"] = owners.clone();
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        let live = api.get_opt(&name).await?;
        // An apply leaves what others add: an exception in the constraints, or a condition, by which nothing is refused any more.
        let has_more = |live: &DynamicObject| spec(&kind, &live.data["spec"]) != spec(&kind, &copy["spec"]);
        if live.as_ref().is_some_and(|live| has_all(live, HELM, &copy) && !has_more(live)) {
            continue;
        }
        let before = live.and_then(|live| live.metadata.generation);
        let put_back = api.patch(&name, &PatchParams::apply(HELM).force(), &Patch::Apply(&copy)).await?;
        if before != put_back.metadata.generation {
            info!(kind, name, was_missing = before.is_none(), "put an admission policy of gitward back");
        }
        if has_more(&put_back) {
            warn!(kind, name, "took additions out of an admission policy of gitward");
            let mut cleaned = put_back;
            cleaned.data["spec"] = copy["spec"].clone();
            let params = PostParams { field_manager: Some(HELM.to_owned()), ..PostParams::default() };
            api.replace(&name, &params, &cleaned).await?;
        }
    }
    Ok(())
}

/// A spec with the fields that this version knows: what a later API server fills in makes no difference.
fn spec(kind: &str, spec: &Value) -> Option<Value> {
    match kind {
        "ValidatingAdmissionPolicy" => known::<ValidatingAdmissionPolicySpec>(spec),
        _ => known::<ValidatingAdmissionPolicyBindingSpec>(spec),
    }
}

fn known<T: DeserializeOwned + Serialize>(spec: &Value) -> Option<Value> {
    serde_json::to_value(T::deserialize(spec).ok()?).ok()
}
